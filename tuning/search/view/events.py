"""What happens in a search, one line an event: for logs, and where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from kerasresnet.command import duration
from tuning.search.oracle.brackets import Bracket
from tuning.search.view.progress import (
    described,
    epochs,
    is_done,
    of_rung,
    percent,
    progress_of,
)
from tuning.search.view.times import too_slow
from tuning.search.view.trials import Search, Trial, best_trial


def print_events(looks: Iterable[Search], console: Console) -> None:
    """Print what happens from one look at a search to the next, with the time of day."""
    before = None
    for now in looks:
        if before:
            for line in events(before, now):
                _print(line, console)
        elif now.trials:
            _print(_standing("going on", now), console)
        before = now
    if before:
        ended = before.plan and all(is_done(before.trials, b) for b in before.plan.brackets)
        _print(_standing("the search is done" if ended else "stopped", before), console)


def _print(line: str, console: Console) -> None:
    console.print(Text(f"{time.strftime('%H:%M:%S')} {line}"), soft_wrap=True)


def _standing(what: str, search: Search) -> str:
    now, best = progress_of(search), best_trial(search.trials)
    line = f"{what}: {now.trials_done} of {now.trials_planned or 'unknown'} trials"
    return f"{line}, the best {described(best, search)}" if best else line


def events(before: Search, now: Search) -> Iterator[str]:
    """What happened between two looks at a search, a line each, oldest trial first."""
    for spec, seconds in too_slow(now).items():
        if spec not in too_slow(before):
            yield f"{spec} takes {duration(seconds)} an epoch, too long: another is drawn"
    known = {trial.trial_id: trial for trial in before.trials}
    best = best_trial(now.trials)
    for trial in now.trials:
        old = known.get(trial.trial_id)
        if trial.spec and not (old and old.spec):
            yield _started(trial)
        if old and old.status == trial.status:
            continue
        if trial.status == "COMPLETED":
            mark = ", the best so far" if trial is best else ""
            yield (
                f"trial {trial.trial_id} finished: {percent(trial.score)} after "
                f"{epochs(trial.epochs)}, {duration(trial.seconds)}{mark} ({_left(now)})"
            )
        elif trial.failed:
            yield f"trial {trial.trial_id} failed: {trial.error}"
        elif trial.status == "WAITING":
            yield f"trial {trial.trial_id} was interrupted after {epochs(trial.epochs_done)}"
        elif old:
            yield f"trial {trial.trial_id} goes on after {epochs(trial.epochs_done)}"
    for bracket in now.plan.brackets if now.plan else ():
        if is_done(now.trials, bracket) and not is_done(before.trials, bracket):
            yield _finished_bracket(bracket, now)


def _started(trial: Trial) -> str:
    size = f", {trial.parameters:,} parameters" if trial.parameters else ""
    if trial.parent:
        return (
            f"trial {trial.trial_id} started: {trial.parent} is promoted from epoch "
            f"{trial.initial_epoch} to {trial.epochs}, {trial.spec}{size}"
        )
    return f"trial {trial.trial_id} started: {epochs(trial.epochs)} of {trial.spec}{size}"


def _left(search: Search) -> str:
    now = progress_of(search)
    text = f"{now.epochs_done} of {now.epochs_planned} epochs"
    return f"{text}, about {duration(now.seconds_left)} left" if now.seconds_left else text


def _finished_bracket(bracket: Bracket, search: Search) -> str:
    top = of_rung(search.trials, bracket, len(bracket.rungs) - 1)
    of = f" of iteration {bracket.iteration + 1}" if search.plan.brackets[-1].iteration else ""
    best = best_trial(top)
    return f"bracket {bracket.number}{of} is done, the best {described(best, search)}"
