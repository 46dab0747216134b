"""A search as it runs, drawn from its files alone: a picture on a terminal, else a line an event.

The process that draws trains nothing; it looks at the files about once a second, and draws again
only when one has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kerasresnet.command import duration
from tuning.search.oracle.brackets import Bracket
from tuning.search.view.events import print_events
from tuning.search.view.progress import described, epochs, of_rung, percent, progress_of
from tuning.search.view.times import described_times, epoch_seconds, timed_now
from tuning.search.view.trials import Search, SearchReader, Trial, best_trial

PAUSE = 1.0  # seconds between two looks at the files
FAILURES_SHOWN = 3


def watch(
    folder: str | Path,
    finished: Callable[[], bool],
    *,
    plain: bool = False,
    console: Console | None = None,
) -> None:
    """Show the search in `folder` until `finished()`, which is asked about once a second.

    A live picture on a terminal; with `plain`, or where there is no terminal, a line an event.
    """
    console = console or Console()
    looks = _looks(SearchReader(folder), finished)
    if plain or not console.is_terminal:
        print_events(looks, console)
        return
    with Live(draw(next(looks)), console=console, auto_refresh=False) as live:
        for search in looks:
            live.update(draw(search), refresh=True)


def _looks(reader: SearchReader, finished: Callable[[], bool]) -> Iterator[Search]:
    """The search now, and again whenever it has changed, to the last change."""
    shown, over = None, False
    while not over:
        # Asked first: what was written before the end is seen by the last look.
        over = shown is not None and finished()
        if (now := reader.read()) is not shown:
            shown = now
            yield shown
        if not over:
            time.sleep(PAUSE)


def draw(search: Search) -> RenderableType:
    """Brackets, running trials, the best so far, time, and what failed."""
    if not search.settings:
        return Text("the search has not begun yet", style="dim")
    parts: list[RenderableType] = [_headline(search), _plan_table(search)]
    waiting = [trial for trial in search.trials if trial.status == "WAITING"]
    if search.running or waiting:
        parts += [Text(), _running_table([*search.running, *waiting], epoch_seconds(search))]
    parts += [Text(), _summary(search)]
    if failed := [trial for trial in search.trials if trial.failed]:
        parts += [Text(), _failures(failed)]
    return Group(*parts)


def _headline(search: Search) -> Text:
    asked = search.settings
    images = (
        f"{asked['train_images']:,} images" if asked.get("train_images") else "all other images"
    )
    line = Text(f"{asked['tuner']} search", style="bold")
    line.append(
        f" under {asked['max_params']:,} parameters, {asked['data']}: {images} to train on, "
        f"{asked['val_images']:,} to score on",
        style="not bold",
    )
    return line


def _plan_table(search: Search) -> Table:
    """Brackets down, rungs across; of several iterations, the one that runs now."""
    brackets = search.plan.brackets
    last = brackets[-1].iteration
    # The last one that any trial has begun: what came before is over, or nearly.
    current = max((trial.iteration for trial in search.trials), default=0)
    title = f"iteration {current + 1} of {last + 1}" if last else None
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("bracket", justify="right")
    shown = [bracket for bracket in brackets if bracket.iteration == current]
    for rung in range(max(len(bracket.rungs) for bracket in shown)):
        table.add_column(f"rung {rung}")
    for bracket in shown:
        cells = [_cell(search, bracket, rung) for rung in range(len(bracket.rungs))]
        table.add_row(str(bracket.number), *cells)
    return table


def _cell(search: Search, bracket: Bracket, rung: int) -> Text:
    size = bracket.rungs[rung]
    trials = of_rung(search.trials, bracket, rung)
    done = [trial for trial in trials if trial.status == "COMPLETED"]
    running = sum(trial.status == "RUNNING" for trial in trials)
    cell = Text(f"{len(done)} of {size.trials} × {epochs(size.epochs)}")
    cell.stylize("green" if len(done) >= size.trials else "bold yellow" if trials else "dim")
    if running:
        cell.append(f", {running} running", style="not bold yellow")
    if best := best_trial(done):
        cell.append(f"\nbest {percent(best.score)}", style="not bold default")
    return cell


def _running_table(trials: list[Trial], seconds: dict[str, float]) -> Table:
    """The trials that run or wait; `seconds` an epoch by spec, where they were timed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("trial")
    table.add_column("network", overflow="fold")
    table.add_column("parameters", justify="right")
    if seconds:
        table.add_column("s an epoch", justify="right")
    table.add_column("epoch", justify="right")
    table.add_column("val. accuracy", justify="right")
    table.add_column("")
    for trial in trials:
        # Until its own first epoch ends, a promoted trial stands where its parent stopped.
        reached = trial.rows[-1].get("val_accuracy") if trial.rows else None
        table.add_row(
            trial.trial_id,
            Text(trial.spec or "starting"),
            f"{trial.parameters:,}" if trial.parameters else "",
            *([f"{seconds[trial.spec]:.3g}" if trial.spec in seconds else ""] if seconds else ()),
            f"{trial.epochs_done} of {trial.epochs}",
            percent(reached),
            f"from {trial.parent}" if trial.parent else "",
            style="dim" if trial.status == "WAITING" else "",
        )
    return table


def _summary(search: Search) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if best := best_trial(search.trials):
        table.add_row("best so far", Text(described(best, search)))
    now = progress_of(search)
    failed = sum(trial.failed for trial in search.trials)
    table.add_row(
        "trials",
        f"{now.trials_done} of {now.trials_planned} done" + (f", {failed} failed" * bool(failed)),
    )
    table.add_row("epochs", f"{now.epochs_done} of {now.epochs_planned} done")
    if now.epochs_per_hour:
        table.add_row("speed", f"{now.epochs_per_hour:,.0f} epochs an hour")
    table.add_row("time", _time(search))
    if times := described_times(search):
        now = timed_now(search)
        table.add_row("limit of time", Text(times + (f"; {now} is being timed" if now else "")))
    return table


def _time(search: Search) -> str:
    now = progress_of(search)
    spent = f"{duration(now.seconds)} of training"
    if now.seconds_left is None:
        return f"{spent}, no epoch measured yet"
    return f"{spent}, about {duration(now.seconds_left)} left" if now.seconds_left else spent


def _failures(failed: list[Trial]) -> Text:
    lines = Text()
    for trial in failed[-FAILURES_SHOWN:]:
        lines.append(f"trial {trial.trial_id} failed: ", style="red")
        lines.append(f"{trial.error}\n")
    if len(failed) > FAILURES_SHOWN:
        lines.append(f"and {len(failed) - FAILURES_SHOWN} before it\n", style="dim")
    lines.rstrip()
    return lines
