"""What the oracle and its trials write down, and the checks that it has to pass when it is read.

keras-tuner's files hold more; what is checked is all that a search goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.schema import Schema
from tuning.search.oracle.brackets import plan_of
from tuning.search.project import Project
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


def check_files(project: Project) -> None:
    """Raise `KerasResNetError`, with what can be done, where a search cannot go on from a file."""
    if (project.path / "oracle.json").is_file():
        with project.blaming("oracle.json"):
            OracleFile(**read_json(project.path / "oracle.json"))
    rungs = {
        (bracket.iteration, bracket.number, number): rung.epochs
        for bracket in plan_of(project.settings.model_dump()).brackets
        for number, rung in enumerate(bracket.rungs)
    }
    for path in sorted(project.path.glob("trial_*/trial.json")):
        drop = f"delete {path.parent} and it counts as failed, or "
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
    if place.round and place.trial_id is None:
        raise UsageError("it was promoted from no trial")
