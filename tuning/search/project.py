"""The directory of a search: its settings, written once, and who may use it.

search.json        settings, base recipe and space; what is asked for later must equal them
oracle.json        the oracle: brackets, and which trials are waiting, running, done
images/            the images that every trial trains on and is scored on
epoch_times.json   what networks' epochs take, where there is a limit of it
trial_0007/        trial.json (choice, score, status) and run/, a run that resumes
logs/              what the processes print
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kerasresnet.disk import ASIDE, locked, read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.network.budget import DEFAULT_LIMIT
from kerasresnet.recipe import Recipe
from kerasresnet.run.record import DataSettings
from kerasresnet.schema import Schema
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

EPOCH_TIMES = "epoch_times.json"
# What a kill may leave where search.json was to be written.
_LEFT = re.compile(rf"{ASIDE}search\.json|(start|search|oracle|use-\w+)\.lock")
Positive = Annotated[int, Field(ge=1)]


class Settings(Schema):
    """What a search is asked for, beside its base recipe and its space."""

    tuner: Literal["hyperband", "random", "bayesian"] = "hyperband"
    data: str = "cifar10"
    data_settings: DataSettings | None = None
    base: str = "quick"
    max_params: Positive = DEFAULT_LIMIT
    max_epochs: Positive = 9
    factor: Annotated[int, Field(ge=2)] = 3
    iterations: Positive = 1
    max_trials: Positive = 20
    max_macs: Positive | None = None
    max_epoch_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    train_images: Positive | None = None
    val_images: Positive = 5_000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class _SearchFile(Schema):
    """search.json."""

    settings: Settings
    recipe: str
    space: dict[str, Any]


class _OurPart(Schema):
    # Of the files that keras-tuner writes: it has more in them.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)


class _OracleFile(_OurPart):
    """oracle.json, as far as it is needed here."""

    start_order: list[str]
    end_order: list[str]
    ongoing_trials: dict[str, str]


class _Choice(_OurPart):
    values: dict[str, Any]


class _TrialFile(_OurPart):
    """trial.json, as far as it is needed here."""

    trial_id: str
    status: str
    score: float | None
    hyperparameters: _Choice


@dataclass(frozen=True)
class Project:
    """The directory of a search that exists."""

    path: Path

    @classmethod
    def create(cls, path: Path, settings: Settings, space: Space) -> Project:
        """Start a search in `path`, or find it there with the same settings.

        A search that never began may change its settings; its images are made again then. Raises
        `UsageError` where `path` holds something else, with what differs.
        """
        found = cls(path)
        wanted = {
            "settings": settings.model_dump(mode="json"),
            "recipe": space.base.to_toml(),
            "space": space.to_json(),
        }
        if path.exists() and not _ours(path):
            raise UsageError(f"{path} is no search of ours; choose another --search-dir")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the search directory {path}: {error.strerror}") from None
        with found.alone("start", wait=10.0):  # several processes may come first at once
            if not (path / "search.json").is_file():
                write_json(path / "search.json", wanted)
            elif differences := _differences(found._written, wanted):
                found._change(wanted, "; ".join(differences))
        return cls(path)

    def _change(self, wanted: dict[str, Any], differences: str) -> None:
        """Write other settings. Raises `UsageError` where the search has begun, or is beginning."""
        if self.started:
            raise UsageError(
                f"{self.path} holds a search with other settings: {differences}; type "
                "those, choose another --search-dir, or start anew with --overwrite"
            )
        refusal = (
            f"{self.path} is used by a search with other settings: {differences}; stop it first, "
            "or choose another --search-dir"
        )
        self._refuse_users(refusal)
        shutil.rmtree(self.path / "images", ignore_errors=True)  # they are of the old settings
        write_json(self.path / "search.json", wanted)

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """A search that exists. Raises `UsageError` where `path` is not one."""
        path = Path(path)
        if not _is_search(path):
            what = "is no search: no search.json of ours is in it"
            what = what if path.exists() else "does not exist"
            raise UsageError(f"{path} {what}; give a directory that tuning.search made")
        return cls(path)

    @property
    def started(self) -> bool:
        """Whether there is something that other settings would spoil."""
        return (self.path / "oracle.json").is_file() and (self.path / "search.json").is_file()

    @functools.cached_property
    def _written(self) -> dict[str, Any]:
        written = read_json(self.path / "search.json")
        with self._blaming("search.json"):
            needed = {n for n, field in Settings.model_fields.items() if field.default is not None}
            if missing := needed - dict(written["settings"]).keys():
                raise ValueError(f"its settings lack {', '.join(sorted(missing))}")
            _SearchFile(**written)
            tomllib.loads(written["recipe"])
        return written

    @property
    def settings(self) -> Settings:
        return Settings(**self._written["settings"])

    @functools.cached_property
    def space(self) -> Space:
        with self._blaming("search.json"):
            base = Recipe(**tomllib.loads(self._written["recipe"]))
            return Space(base, narrow(self._written["space"], base), self.settings.max_macs)

    def check_files(self) -> None:
        """Raise `KerasResNetError`, with what can be done, where a file of it cannot be read."""
        if (self.path / "oracle.json").is_file():
            with self._blaming("oracle.json"):
                _OracleFile(**read_json(self.path / "oracle.json"))
        for path in sorted(self.path.glob("trial_*/trial.json")):
            drop = f"delete {path.parent} and it counts as failed, or "
            with self._blaming(str(path.relative_to(self.path)), drop):
                _TrialFile(**read_json(path))

    @contextlib.contextmanager
    def _blaming(self, name: str, instead: str = "") -> Iterator[None]:
        try:
            yield
        except (KerasResNetError, ValueError, TypeError, KeyError) as error:
            raise KerasResNetError(
                f"{self.path / name} is damaged ({first_line(error)}); {instead}begin again with "
                "another --search-dir, or in this one with --overwrite"
            ) from None

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Nobody clears the directory meanwhile. Raises `UsageError` where somebody does."""
        mine = self.path / f"use-{uuid.uuid4().hex}.lock"
        refusal = f"{self.path} is being cleared by another search"
        with contextlib.ExitStack() as held:
            with locked(self.path / "start.lock", refusal, wait=10.0):
                held.enter_context(locked(mine, refusal))
            yield
        mine.unlink(missing_ok=True)

    def _refuse_users(self, refusal: str) -> None:
        """Raises `UsageError` where a process uses it; removes what dead ones left of theirs.

        Only with the start's lock held: none can come meanwhile.
        """
        for file in self.path.glob("use-*.lock"):
            with locked(file, refusal):
                file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self, what: str, wait: float = 0.0) -> Iterator[None]:
        """One process at a time is `what` (the search, its oracle).

        Raises `UsageError` where another still is, after `wait` seconds.
        """
        refusal = f"another {what} is running in {self.path}; wait for it, or stop it"
        with locked(self.path / f"{what}.lock", refusal, wait=wait):
            yield

    def clear(self) -> None:
        """Delete all of the search. Raises `UsageError` where a process still uses it."""
        refusal = f"{self.path} is used by a running search: nothing was deleted; stop it first"
        last = ("oracle.json", "search.json")  # killed halfway, it is still a search to clear
        with locked(self.path / "start.lock", refusal):
            self._refuse_users(refusal)
            entries = (entry for entry in self.path.iterdir() if entry.suffix != ".lock")
            for entry in sorted(entries, key=lambda entry: entry.name in last):
                real = entry.is_dir() and not entry.is_symlink()
                shutil.rmtree(entry) if real else entry.unlink()


def _is_search(path: Path) -> bool:
    """Whether `path` holds a search.json that `Project.create` wrote, not a stranger's."""
    try:
        written = read_json(path / "search.json")
    except KerasResNetError:
        return False
    return isinstance(written, dict) and written.keys() >= {"settings", "recipe", "space"}


def _ours(path: Path) -> bool:
    """Whether `path` is a search, or an empty folder, or one where a start was killed."""
    if not path.is_dir():
        return False
    # Names first: a search.json that appears meanwhile is one of ours.
    names = {entry.name for entry in path.iterdir()}
    return all(map(_LEFT.fullmatch, names)) or _is_search(path)


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One phrase for each setting that differs."""

    def flat(written: dict[str, Any]) -> dict[str, Any]:
        settings, space = written["settings"], written["space"]
        base = {  # what the space searches as well must not hide
            f"the base's {name}" if name in space else name: value
            for name, value in tomllib.loads(written["recipe"]).items()
        }
        return {**settings, **base, **space}

    before, now = flat(there), flat(wanted)
    return [
        f"{name} is {before.get(name)!r} there and {now.get(name)!r} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
