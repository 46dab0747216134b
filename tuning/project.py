"""The directory of a search: its settings, written once, and who may use it.

search.json        settings, base recipe and space; what is asked for later must equal them
oracle.json        the oracle: brackets, and which trials are waiting, running, done
images/            the images that every trial trains on and is scored on
trial_0007/        trial.json (choice, score, status) and run/, a run that resumes
logs/              what the processes print
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from kerasresnet.budget import DEFAULT_LIMIT
from kerasresnet.errors import UsageError
from kerasresnet.recipe import Recipe
from kerasresnet.run import locked, read_json, write_json
from kerasresnet.schema import Schema
from tuning.space import Space, narrow

Positive = Annotated[int, Field(ge=1)]


class Settings(Schema):
    """What a search is asked for, beside its base recipe and its space."""

    tuner: Literal["hyperband", "random", "bayesian"] = "hyperband"
    data: str = "cifar10"
    base: str = "quick"
    max_params: Positive = DEFAULT_LIMIT
    max_epochs: Positive = 9
    factor: Annotated[int, Field(ge=2)] = 3
    iterations: Positive = 1
    max_trials: Positive = 20
    max_macs: Positive | None = None
    train_images: Positive | None = None
    val_images: Positive = 5_000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


@dataclass(frozen=True)
class Project:
    """The directory of a search that exists."""

    path: Path

    @classmethod
    def create(cls, path: Path, settings: Settings, space: Space) -> Project:
        """Start a search in `path`, or find it there with the same settings.

        Raises `UsageError` where `path` holds something else, with what differs.
        """
        found = cls(path)
        wanted = {
            "settings": settings.model_dump(),
            "recipe": space.base.to_toml(),
            "space": space.to_json(),
        }
        if found.started:
            if differences := _differences(found._written, wanted):
                raise UsageError(
                    f"{path} holds a search with other settings: {'; '.join(differences)}; type "
                    "those, choose another --search-dir, or start anew with --overwrite"
                )
            return found
        if path.exists() and (not path.is_dir() or not _ours(path)):
            raise UsageError(f"{path} is no search of ours; choose another --search-dir")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the search directory {path}: {error.strerror}") from None
        write_json(path / "search.json", wanted)
        return found

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """A search that exists. Raises `UsageError` where `path` is not one."""
        path = Path(path)
        if not (path / "search.json").is_file():
            what = "is no search: it has no search.json" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} {what}; give a directory that tuning.search made")
        return cls(path)

    @property
    def started(self) -> bool:
        """Whether there is something that other settings would spoil."""
        return (self.path / "oracle.json").is_file() and (self.path / "search.json").is_file()

    @functools.cached_property
    def _written(self) -> dict[str, Any]:
        return read_json(self.path / "search.json")

    @property
    def settings(self) -> Settings:
        return Settings(**self._written["settings"])

    @functools.cached_property
    def space(self) -> Space:
        base = Recipe(**tomllib.loads(self._written["recipe"]))
        return Space(base, narrow(self._written["space"]), self.settings.max_macs)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Nobody clears the directory meanwhile. Raises `UsageError` where somebody does."""
        with locked(self.path, f"{self.path} is being cleared by another search", shared=True):
            yield

    @contextlib.contextmanager
    def alone(self, what: str, wait: float = 0.0) -> Iterator[None]:
        """One process at a time is `what` (the search, its oracle).

        Raises `UsageError` where another still is, after `wait` seconds.
        """
        path = self.path / f"{what}.lock"
        path.touch()
        refusal = f"another {what} is running in {self.path}; wait for it, or stop it"
        with locked(path, refusal, wait=wait):
            yield

    def clear(self) -> None:
        """Delete all of the search. Raises `UsageError` where a process still uses it."""
        refusal = f"{self.path} is used by a running search: nothing was deleted; stop it first"
        with locked(self.path, refusal):
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _ours(path: Path) -> bool:
    """Whether a folder without an oracle is empty, or a search that never began."""
    return not any(path.iterdir()) or (path / "search.json").is_file()


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One phrase for each setting that differs."""

    def flat(written: dict[str, Any]) -> dict[str, Any]:
        recipe = tomllib.loads(written["recipe"])
        return {**written["settings"], **recipe, **written["space"]}

    before, now = flat(there), flat(wanted)
    return [
        f"{name} is {before.get(name)!r} there and {now.get(name)!r} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
