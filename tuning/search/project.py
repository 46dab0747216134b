"""The directory of a search: its settings, written once, and who may use it.

search.json        settings, base recipe and space; what is asked for later must equal them;
                   checksums of the images
oracle.json        the oracle: which trials run, and how much has been drawn
images/            the images that every trial trains on and is scored on
epoch_times.json   what networks' epochs take, where there is a limit of it
trial_0007/        trial.json (choice, score, status) and run/, a run that resumes
logs/              what the processes print
search.lock        held by the process that searches
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from kerasresnet.disk import ASIDE, locked, made, read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.network.budget import DEFAULT_LIMIT
from kerasresnet.recipe import DEFAULTS, Recipe
from kerasresnet.run.record import DataSettings
from kerasresnet.schema import Schema
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

EPOCH_TIMES = "epoch_times.json"
OBJECTIVE = "val_accuracy"
# What a kill may leave where search.json was to be written, that of an earlier version too.
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
    images: dict[str, str] | None = None
    """The SHA-256 of each file of images/; a search of an earlier version has none."""


@dataclass(frozen=True)
class Project:
    """The directory of a search that exists."""

    path: Path

    @classmethod
    @contextlib.contextmanager
    def alone(cls, path: Path) -> Iterator[Project]:
        """What is in `path`, or will be, for this process alone: no other searches there meanwhile.

        Raises `UsageError` where another does, or where `path` holds something else.
        """
        if path.exists() and not _ours(path):
            raise UsageError(_refusal(path))
        refusal = f"another search is running in {path}; wait for it, or stop it"
        with locked(made(path, "search") / "search.lock", refusal):
            yield cls(path)

    def begin(self, settings: Settings, space: Space) -> Project:
        """Start a search here, or find it here with the same settings.

        A search that never began may change its settings; its images are made again then. Raises
        `UsageError`, with what differs, where one began with others.
        """
        wanted = {
            "settings": settings.model_dump(mode="json"),
            "recipe": space.base.to_toml(),
            "space": space.to_json(),
        }
        there = (self.path / "search.json").is_file()
        differences = _differences(self._written, wanted) if there else []
        if differences and self.started:
            raise UsageError(
                f"{self.path} holds a search with other settings: {'; '.join(differences)}; type "
                "those, choose another --search-dir, or start anew with --overwrite"
            )
        if differences:
            shutil.rmtree(self.path / "images", ignore_errors=True)  # they are of the old settings
        if differences or not there:
            write_json(self.path / "search.json", wanted)
        return Project(self.path)

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
        begun = (self.path / "oracle.json").is_file() or any(self.path.glob("trial_*"))
        return begun and (self.path / "search.json").is_file()

    @functools.cached_property
    def _written(self) -> dict[str, Any]:
        written = read_json(self.path / "search.json")
        with self.blaming("search.json"):
            needed = {n for n, field in Settings.model_fields.items() if field.default is not None}
            if missing := needed - dict(written["settings"]).keys():
                raise ValueError(f"its settings lack {', '.join(sorted(missing))}")
            _SearchFile(**written)
            tomllib.loads(written["recipe"])
        return written

    @property
    def settings(self) -> Settings:
        return Settings(**self._written["settings"])

    @property
    def image_sums(self) -> dict[str, str] | None:
        """The SHA-256 of each file of images/ when they were made; None before."""
        return self._written.get("images")

    def keep_image_sums(self, sums: dict[str, str]) -> None:
        """Write them into search.json. One process does, before there are trials."""
        write_json(self.path / "search.json", {**self._written, "images": sums})

    @functools.cached_property
    def space(self) -> Space:
        with self.blaming("search.json"):
            base = Recipe(**tomllib.loads(self._written["recipe"]))
            return Space(base, narrow(self._written["space"], base), self.settings.max_macs)

    @contextlib.contextmanager
    def blaming(self, name: str, instead: str = "") -> Iterator[None]:
        """Turn what reading a file of it raises into `KerasResNetError`, with what can be done."""
        try:
            yield
        except (KerasResNetError, ValueError, TypeError, KeyError) as error:
            raise KerasResNetError(
                f"{self.path / name} is damaged ({first_line(error)}); {instead}begin again with "
                "another --search-dir, or in this one with --overwrite"
            ) from None

    def clear(self) -> None:
        """Delete all of the search."""
        last = ("oracle.json", "search.json")  # killed halfway, it is still a search to clear
        entries = (entry for entry in self.path.iterdir() if entry.suffix != ".lock")
        for entry in sorted(entries, key=lambda entry: entry.name in last):
            real = entry.is_dir() and not entry.is_symlink()
            shutil.rmtree(entry) if real else entry.unlink()


def trial_folder(folder: Path, trial_id: str) -> Path:
    """Where a trial of the search in `folder` lies."""
    return folder / f"trial_{trial_id}"


def _is_search(path: Path) -> bool:
    """Whether `path` holds a search.json that `Project.begin` wrote, not a stranger's."""
    try:
        written = read_json(path / "search.json")
    except KerasResNetError:
        return False
    return isinstance(written, dict) and written.keys() >= {"settings", "recipe", "space"}


def say(told: str) -> None:
    """A line of the search on stderr, at once: what was damaged, and what is done about it."""
    print(f"tuning.search: {told}", file=sys.stderr, flush=True)


def _ours(path: Path) -> bool:
    """Whether `path` is a search, or an empty folder, or one where a start was killed."""
    if not path.is_dir():
        return False
    # Names first: a search.json that appears meanwhile is one of ours.
    names = {entry.name for entry in path.iterdir()}
    return all(map(_LEFT.fullmatch, names)) or _is_search(path)


def _refusal(path: Path) -> str:
    """What to say of a `path` that is no search, or one whose search.json cannot be read."""
    file = path / "search.json"
    if not any(any(path.glob(name)) for name in ("trial_*/trial.json", "images/x_train.npy")):
        return f"{path} is no search of ours; choose another --search-dir"
    lost = "damaged" if file.exists() else "missing"
    return f"{file} is {lost}; put it back as it was, or choose another --search-dir"


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One phrase for each setting that differs."""

    def flat(written: dict[str, Any]) -> dict[str, Any]:
        settings, space = written["settings"], written["space"]
        base = {  # what the space searches as well must not hide
            f"the base's {name}" if name in space else name: value
            for name, value in (DEFAULTS | tomllib.loads(written["recipe"])).items()
        }
        return {**settings, **base, **space}

    before, now = flat(there), flat(wanted)
    return [
        f"{name} is {before.get(name)!r} there and {now.get(name)!r} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
