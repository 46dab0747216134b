"""A run: the directory that holds what one training produced.

    runs/20260131-101500-quick/
      run.json        what was asked for: data, seed, versions, device; and how far it got
      recipe.toml     the recipe as used, its spec inside
      metrics.csv     one row an epoch; metrics.json holds the same
      tensorboard/    the same again, for `tensorboard --logdir`
      state-0007.weights.h5   weights and optimizer after epoch 7, for --resume; average-… beside
                      it where the recipe averages weights
      model.keras     the weights that the recipe keeps
      curves.png confusion.png
      results.json    everything measured, the test accuracy included; written last

All but pictures and TensorBoard's files are written aside and renamed, so that a kill at any
moment leaves the old or the new.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasresnet.disk import locked, read_json, write_json, write_text
from kerasresnet.errors import UsageError
from kerasresnet.recipe import Recipe

STATE = "state-{epoch:04d}.weights.h5"


@dataclass(frozen=True)
class Run:
    """The paths of one run directory, and what is written in them."""

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: Recipe, facts: dict[str, Any]) -> Run:
        """Start a run in a directory that does not exist yet. Raises `UsageError` if it does."""
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise taken(path) from None
        except OSError as error:
            raise UsageError(f"cannot make the run directory {path}: {error.strerror}") from None
        run = cls(path)
        write_text(path / "recipe.toml", recipe.to_toml())
        run.update(status="running", **facts)
        return run

    @classmethod
    def create_under(cls, base: Path, recipe: Recipe, facts: dict[str, Any]) -> Run:
        """Start a run in `base/<time>-<name>`, numbered where several start in one second."""
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{recipe.name}"
        path, number = base / stem, 1
        while True:
            try:
                return cls.create(path, recipe, facts)
            except UsageError:
                if not path.is_dir():
                    raise
            number += 1
            path = base / f"{stem}-{number}"

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises `UsageError` where `path` is not one."""
        path = Path(path)
        if not (path / "run.json").is_file() or not (path / "recipe.toml").is_file():
            what = "is no run directory: it has no run.json" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} {what}; give a directory that kerasresnet.fit made in runs/")
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        return Recipe.from_toml(self.path / "recipe.toml")

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says: name, data, seed, versions, device, status."""
        return read_json(self.path / "run.json")

    @property
    def results(self) -> dict[str, Any]:
        """What results.json says. Raises `UsageError` where the run has not finished."""
        if not self.results_path.is_file():
            raise UsageError(
                f"{self.path} has not finished; go on with "
                f"python -m kerasresnet.fit --resume {self.path}"
            )
        return read_json(self.results_path)

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"

    @property
    def results_path(self) -> Path:
        return self.path / "results.json"

    def update(self, **facts: Any) -> None:
        """Change some entries of run.json; None removes one."""
        path = self.path / "run.json"
        before = read_json(path) if path.is_file() else {}
        write_json(path, {k: v for k, v in (before | facts).items() if v is not None})

    @contextlib.contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Nobody else trains this run, or writes in it, meanwhile; who holds it may do so again.

        Raises `UsageError` where another process does, after `wait` seconds.
        """
        refusal = f"{self.path} is being trained by another process"
        with locked(self.path / "run.lock", refusal, wait=wait, reentrant=True):
            yield

    @property
    def metrics(self) -> list[dict[str, float]]:
        """One row for each finished epoch, first to last."""
        path = self.path / "metrics.json"
        return read_json(path) if path.is_file() else []

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Rewrite metrics.json and metrics.csv."""
        write_json(self.path / "metrics.json", rows)
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path / "metrics.csv", table.getvalue())

    def last_state(self) -> tuple[int, Path] | None:
        """The epoch and the file of the newest resumable state, or None before the first."""
        states = sorted(self.path.glob("state-[0-9]*.weights.h5"))
        return (int(states[-1].name[6:-11]), states[-1]) if states else None

    def average_of(self, state: Path) -> Path:
        """The file of the averaged weights that belong to a state, where the recipe averages."""
        return state.with_name(state.name.replace("state-", "average-"))

    def write_state(self, model: Any, epoch: int, average: Any = None) -> None:
        """Save weights and optimizer of the compiled `model` after `epoch`; drop older states.

        `average` is the model that holds the averaged weights, if there is one.
        """
        path = self.path / STATE.format(epoch=epoch)
        # The average first: a state says that all of its epoch is on disk.
        files = {self.average_of(path): average, path: model}
        for file, source in files.items():
            if source is not None:
                aside = file.with_name("aside-" + file.name)
                source.save_weights(aside)
                os.replace(aside, file)
        for old in self.path.glob("*-[0-9]*.weights.h5"):
            if old not in files:
                old.unlink()

    def save_model(self, model: Any) -> None:
        """Save `model`, which was never compiled, as model.keras."""
        aside = self.path / "aside-model.keras"
        model.save(aside)
        os.replace(aside, self.model_path)


def taken(path: Path) -> UsageError:
    """The error for a run directory that exists already."""
    return UsageError(
        f"{path} exists already; choose another --run-dir, or go on with --resume {path}"
    )


def versions() -> dict[str, str]:
    """Python's version and those of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("kerasresnet", "keras", "tensorflow", "jax", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
