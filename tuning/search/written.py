"""What the oracle and its trials write down, and the checks that it has to pass when it is read.

keras-tuner's files hold more; what is checked is all that a search goes on from. What is damaged is
made again where that gives the same, and told; else it is told, and nothing is made of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.run import Run
from kerasresnet.schema import Schema
from tuning.search.oracle.brackets import plan_of
from tuning.search.project import OBJECTIVE, Project, say
from tuning.search.space.space import Space

OWN = "tuner/"  # what keras-tuner adds to a choice: bracket, rung, epochs, parent
Count = Annotated[int, Field(ge=0)]
# Of a folder, so never a path: it must not lead out of the search.
TrialId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]


class _Part(Schema):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=True)


class OracleFile(_Part):
    """oracle.json."""

    ongoing_trials: dict[str, TrialId]
    trials: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How many have begun; those without a folder count as failed."""
    seed_state: Count = 0
    start_order: tuple[str, ...] = Field((), strict=False)
    """The same, in a search of an earlier version."""


class _Choice(_Part):
    values: dict[str, Any]


class TrialFile(_Part):
    """trial.json."""

    trial_id: TrialId
    status: Literal["RUNNING", "COMPLETED", "FAILED", "INVALID"]
    score: float | None
    best_step: Count | None = None
    message: str | None = None
    draws: Count | None = None
    """How much had been drawn, which oracle.json says too; none in an earlier version."""
    hyperparameters: _Choice


class _Place(_Part):
    """Where in the plan a trial is."""

    iteration: Count = 0
    bracket: Count = 0
    round: Count = 0
    epochs: Annotated[int, Field(ge=1)]
    initial_epoch: Count = 0
    trial_id: TrialId | None = None
    """The trial that it was promoted from."""


def mend(project: Project) -> None:
    """Make whole what a search goes on from; each thing that was not is told in a line on stderr.

    What oracle.json says is taken from the trials; one whose run is damaged is trained again, which
    gives the same. Raises `KerasResNetError`, with what can be done, where a trial.json is damaged.
    """
    check_trials(project)
    trials = sorted(project.path.glob("trial_*/trial.json"))
    _mend_oracle(project.path / "oracle.json", trials)
    for path in trials:
        if (state := read_json(path))["status"] not in ("COMPLETED", "RUNNING"):
            continue
        if told := _loss_of_run(path.parent / "run", state):
            say(f"{told}: trial {state['trial_id']} is trained again")
            write_json(path, state | {"status": "RUNNING", "score": None})


def _mend_oracle(path: Path, trials: list[Path]) -> None:
    if not trials and not path.is_file():  # the search begins
        return
    try:
        state = OracleFile(**read_json(path))
    except (KerasResNetError, TypeError) as error:
        say(f"{path} is damaged ({first_line(error)}): what it says is taken from the trials")
        path.unlink(missing_ok=True)
        return
    begun = len(state.start_order) if state.trials is None else state.trials
    there = {int(trial.parent.name.removeprefix("trial_")) for trial in trials}
    if lost := sorted(set(range(begun)) - there):
        names = ", ".join(map(str, lost[:10])) + (" …" if lost[10:] else "")
        say(f"trials without a folder count as failed: {names}")


def _loss_of_run(run: Path, state: Mapping[str, Any]) -> str | None:
    """What the run of a trial has lost, in a phrase, or None; one that nothing tells of is removed.

    States of weights are left to who goes on from them: one without any begins again.
    """
    if state["status"] == "RUNNING" and not run.is_dir():  # it had not begun
        return None
    try:
        Run.open(run).check_recipe()
    except KerasResNetError as error:
        shutil.rmtree(run, ignore_errors=True)
        return str(error).split(";")[0]
    if state["status"] == "RUNNING":  # its metrics are mended as it goes on
        return None
    epochs = state["hyperparameters"]["values"][f"{OWN}epochs"]
    try:
        reached = Run(run).metrics[epochs - 1][OBJECTIVE]
    except (KerasResNetError, LookupError) as error:
        return f"{run / 'metrics.json'} is damaged ({first_line(error)})"
    return None if reached == state["score"] else f"{run / 'metrics.json'} has another score"


def check_trials(project: Project) -> None:
    """Raise `KerasResNetError`, with what can be done, where a trial.json is damaged or missing."""
    rungs = {
        (bracket.iteration, bracket.number, number): rung.epochs
        for bracket in plan_of(project.settings.model_dump()).brackets
        for number, rung in enumerate(bracket.rungs)
    }
    for home in sorted(project.path.glob("trial_*")):
        path, drop = home / "trial.json", f"delete {home} and it counts as failed, or "
        if not path.exists() and not (home / "run").exists():  # a kill while it was made
            continue
        with project.blaming(str(path.relative_to(project.path)), drop):
            _check_trial(path, project.space, rungs)


def _check_trial(path: Path, space: Space, rungs: Mapping[tuple[int, int, int], int]) -> None:
    """Its number, its choice, its place among `rungs`, which have so many epochs each.

    Raises whatever a file may make Python raise.
    """
    found = TrialFile(**read_json(path))
    values = found.hyperparameters.values
    if path.parent.name != f"trial_{found.trial_id}":
        raise UsageError(f"it is of trial {found.trial_id}")
    if not values and found.status == "FAILED":  # its folder was deleted
        return
    if found.status == "COMPLETED" and found.score is None:
        raise UsageError("it has ended without a score")
    space.check(values)
    own = {name: value for name, value in values.items() if name.startswith(OWN)}
    place = _Place(**{name.removeprefix(OWN): value for name, value in own.items()})
    if rungs.get((place.iteration, place.bracket, place.round)) != place.epochs:
        raise UsageError("it is of no rung of this search")
    if place.round and (place.trial_id is None or int(place.trial_id) >= int(found.trial_id)):
        raise UsageError("it was promoted from no trial before it")
