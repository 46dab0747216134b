"""One-factor experiments: what a change of one thing does to a base, over several seeds.

python -m tuning.study --base table1-06 --vary optimizer=sgd,adagrad,rmsprop,adam --seeds 3
python -m tuning.study --vary pool=2,4,global --vary batch_size=64,256 --epochs 6
python -m tuning.study --report studies/cifar10-quick-pool-batch_size

The same command again goes on with an interrupted study.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from kerasresnet.command import duration, exit_on_error
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from tuning.study.options import StudyOptions, parse_study_options
from tuning.study.process import examine, train
from tuning.study.report import kept_val_accuracy, write_report
from tuning.study.runs import Study, StudyRun


def run_study(options: StudyOptions) -> int:
    """Check everything, train what is not trained yet, report; returns the exit code."""
    study, mistakes = options.resolve()
    facts = check(study, mistakes, options.data_dir)
    with study.begun():
        print_plan(study)
        try:
            train_all(study, facts, options)
        except KeyboardInterrupt:
            again = shlex.join(["python", "-m", "tuning.study", *sys.argv[1:]])
            done = sum(run.finished for run in study.runs())
            print(
                f"\nstopped after {done} of {len(study.runs())} runs; the same command goes on:\n"
                f"  {again}",
                file=sys.stderr,
            )
            return 130
    return finish(study)


def check(study: Study, mistakes: list[str], data_dir: Path | None) -> dict[str, Any]:
    """What every run's run.json says; nothing where all runs have finished.

    Raises `UsageError` that lists all `mistakes`, and all settings that the data refuses.
    """
    if not mistakes and all(run.finished for run in study.runs()):
        return {}
    try:
        facts, refused = examine(study, data_dir, fit_only=bool(mistakes))
    except KerasResNetError:
        if not mistakes:
            raise
        facts, refused = {}, []
    mistakes = [*mistakes, *refused]
    if len(mistakes) > 1:
        head = f"{len(mistakes)} things cannot be studied, so nothing was started:"
        raise UsageError("\n  ".join([head, *mistakes]))
    if mistakes:
        raise UsageError(mistakes[0])
    return facts


def finish(study: Study) -> int:
    """Write the report, show its table; list what failed, and say so with the exit code."""
    failed = [run for run in study.runs() if not run.finished]
    if any(run.finished for run in study.runs()):
        paths = write_report(study)
        print(paths[0].read_text(encoding="utf-8"))
        print(*paths, sep="\n", flush=True)
    for run in failed:
        print(f"failed: {run.name}: {run.error}", file=sys.stderr)
    if failed:
        print(
            f"{len(failed)} of {len(study.runs())} runs failed; what they printed is in "
            f"{study.path / 'logs'}; the same command tries them again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def print_plan(study: Study) -> None:
    """Every setting with its cost, and how much there is to train."""
    runs = study.runs()
    table = Table(box=None, pad_edge=False)
    for title in ("setting", "network"):
        table.add_column(title, overflow="fold")
    for title in ("parameters", "MACs", "epochs", "runs done"):
        table.add_column(title, justify="right")
    for setting in study.settings:
        recipe = setting.recipe
        mine = [run for run in runs if run.recipe.name == recipe.name]
        same = setting.is_base and setting.factor
        table.add_row(
            escape(setting.label),
            str(recipe.spec),
            f"{count_parameters(recipe.spec):,}",
            f"{count_macs(recipe.spec) / 1e6:,.1f} M",
            str(recipe.epochs),
            "the base" if same else f"{sum(r.finished for r in mine)} of {len(mine)}",
        )
    epochs = sum(run.recipe.epochs for run in runs)
    done = sum(run.epochs_done for run in runs)
    console = Console()
    console.print(table)
    console.print(
        f"{study.data}, base {escape(study.base)}: {len(runs)} runs of {study.seeds} seeds, "
        f"{epochs} epochs in all" + (f", {done} of them done" if done else "") + f", {study.path}",
        highlight=False,
    )


def train_all(study: Study, facts: dict[str, Any], options: StudyOptions) -> None:
    """Train all runs that have not finished, one after the other."""
    runs, clock = study.runs(), Clock(study.runs())
    console = Console(highlight=False)
    live = console.is_terminal and not options.plain
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"))
    # No refreshing thread: `watch` draws, whenever it is called.
    with Progress(*columns, console=console, auto_refresh=False, disable=not live) as progress:
        task = progress.add_task("", total=clock.work, left="")
        for number, run in enumerate(runs, start=1):
            if run.finished:
                continue
            head = f"[{number}/{len(runs)}] {run.name}"

            def watch(run: StudyRun = run, head: str = head) -> None:
                progress.update(
                    task,
                    description=escape(f"{head}: epoch {run.epochs_done} of {run.recipe.epochs}"),
                    completed=clock.work - clock.to_do(),
                    left=clock.left(),
                    refresh=True,
                )

            train(run, facts, options.data_dir, watch)
            if not run.finished:
                clock.given_up.add(run.name)
            console.print(escape(f"{head}: {_outcome(run)}; {clock.left()}"), soft_wrap=True)


def _outcome(run: StudyRun) -> str:
    if not run.finished:
        return f"FAILED: {run.error}"
    results = run.run.results
    val = kept_val_accuracy(results)
    return (
        f"validation {val:.2%}, " if val is not None else ""
    ) + f"test {results['test']['accuracy']:.2%}, {results['train_seconds'] / 60:.1f} min"


class Clock:
    """How long the runs that are left will take, from what those of this session took.

    Time is taken to be proportional to epochs times multiply-accumulates.
    """

    def __init__(self, runs: list[StudyRun], now: Callable[[], float] = time.monotonic) -> None:
        self.runs, self.now = runs, now
        self.given_up: set[str] = set()
        self.work = sum(run.recipe.epochs * run.work for run in runs)
        self.started, self.before = now(), self._trained()

    def _trained(self) -> int:
        return sum(run.epochs_done * run.work for run in self.runs)

    def to_do(self) -> int:
        """Multiply-accumulates left, per image; runs that failed are given up."""
        waiting = [run for run in self.runs if run.name not in self.given_up]
        return sum((run.recipe.epochs - run.epochs_done) * run.work for run in waiting)

    def left(self) -> str:
        """For humans."""
        to_do, trained = self.to_do(), self._trained() - self.before
        if not to_do:
            return "all done"
        if not trained:
            return "time left not known yet"
        return f"about {duration((self.now() - self.started) * to_do / trained)} left"


def main() -> None:
    with exit_on_error("tuning.study"):
        options = parse_study_options()
        if options.report:
            for path in write_report(Study.open(options.report)):
                print(path)
        else:
            sys.exit(run_study(options))


if __name__ == "__main__":
    main()
