"""How far a search is, and how long the rest will take, from what its epochs have taken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tuning.search.oracle.brackets import Bracket
from tuning.search.view.trials import Search, Trial


@dataclass(frozen=True)
class Progress:
    """Epochs of a search, and their time; None where nothing has been measured or planned yet."""

    epochs_done: int
    epochs_planned: int | None
    trials_done: int
    trials_planned: int | None
    seconds: float
    """What all epochs took together, those of failed trials included."""
    epochs_per_hour: float | None
    """Of all trials that run now together."""
    seconds_left: float | None


def progress_of(search: Search) -> Progress:
    """Count epochs and time; what is left goes on at the speed of those that were trained.

    A trial that runs is timed by its own epochs, what is still to come by the mean of all; trials
    that have not begun take the start of a process each, too, as long as those before.
    """
    trials, plan, running = search.trials, search.plan, search.running
    kept = [trial for trial in trials if not trial.failed]
    done = sum(trial.trained for trial in kept)
    measured = sum(trial.trained for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    side_by_side = max(1, len(running))
    rate = 3600 * side_by_side * measured / seconds if seconds else None
    left = None
    if plan and seconds:
        mean = seconds / measured
        begun = sum(trial.epochs - trial.initial_epoch - trial.trained for trial in running)
        to_come = max(0, plan.epochs - done - begun)
        left = (to_come * mean + _starts_left(search)) / side_by_side
        # Side by side, but none goes faster than it can alone.
        each = [_seconds_left(trial, mean) for trial in running]
        left = max(left + sum(each) / side_by_side, *each, 0.0)
    return Progress(
        epochs_done=done,
        epochs_planned=plan.epochs if plan else None,
        trials_done=sum(trial.status == "COMPLETED" for trial in trials),
        trials_planned=plan.trials if plan else None,
        seconds=seconds,
        epochs_per_hour=rate,
        seconds_left=left,
    )


def _starts_left(search: Search) -> float:
    """What the starts of all trials that have not begun will take, one after the other."""
    starts = [t.start_seconds for t in search.trials if t.start_seconds is not None]
    begun = sum(trial.status == "COMPLETED" for trial in search.trials) + len(search.running)
    return max(0, search.plan.trials - begun) * statistics.mean(starts or [0.0])


def _seconds_left(trial: Trial, mean: float) -> float:
    own = [row["seconds"] for row in trial.rows]
    epochs = trial.epochs - trial.initial_epoch - trial.trained
    return max(0, epochs) * (statistics.mean(own) if own else mean)


def of_rung(trials: Sequence[Trial], bracket: Bracket, rung: int) -> list[Trial]:
    """The trials of one rung that have not failed."""
    place = (bracket.iteration, bracket.number, rung)
    return [t for t in trials if (t.iteration, t.bracket, t.rung) == place and not t.failed]


def is_done(trials: Sequence[Trial], bracket: Bracket) -> bool:
    """Whether every rung of a bracket is full and trained."""
    return all(
        sum(trial.status == "COMPLETED" for trial in of_rung(trials, bracket, rung)) >= size.trials
        for rung, size in enumerate(bracket.rungs)
    )


def percent(score: float | None) -> str:
    """An accuracy from 0 to 1 as people read it."""
    return "–" if score is None else f"{100 * score:.2f} %"


def epochs(number: int) -> str:
    return f"{number} epoch" if number == 1 else f"{number} epochs"


def described(trial: Trial, search: Search) -> str:
    """A scored trial in one phrase: its score, and the network it is of."""
    text = f"{percent(trial.score)} after {epochs(trial.epochs)}, trial {trial.trial_id}"
    if trial.spec:
        text += f": {trial.spec}"
    if trial.parameters:
        share = trial.parameters / search.settings["max_params"]
        text += f", {trial.parameters:,} parameters ({share:.1%} of the limit)"
    return text
