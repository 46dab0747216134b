"""The directory of a run: its files, and how each is written and read back.

    runs/20260131-101500-quick/
      run.json        what was asked for: data, seed, versions, device, the checksum of the recipe;
                      and how far it got
      recipe.toml     the recipe as used, its spec inside
      metrics.csv     one row an epoch; metrics.json holds the same
      tensorboard/    the same again, for `tensorboard --logdir`
      state-0007.weights.h5   weights and optimizer after epoch 7, for --resume; average-… beside
                      it where the recipe averages weights; state-0007.json holds their checksums
      model.keras     the weights that the recipe keeps
      results.json    everything measured, the test accuracy included
      predictions.npz what the kept network answers to the test images, and a few of them
      architecture.png block.png curves.png confusion.png
      report.html     all of it on one page
      run.lock        held by the process that trains

All but TensorBoard's files are written aside, synced and renamed, so that a kill or a power cut at
any moment leaves the old or the new; only the process that holds the lock writes.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import platform
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasresnet.disk import (
    ASIDE,
    checksum,
    locked,
    publish,
    read_json,
    staged,
    write_bytes,
    write_json,
    write_text,
)
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from kerasresnet.run.record import Metrics, Row, RunFacts, RunResults, checked, read_record
from kerasresnet.run.states import State, model_file, states_of, weights_file

_RECIPE_AGAIN = (
    "put it back as it was, or begin a new run with python -m kerasresnet.fit --recipe and a "
    "recipe that you trust"
)
PICTURES = ("architecture.png", "block.png", "curves.png", "confusion.png", "report.html")


@dataclass(frozen=True)
class Run:
    """The paths of one run directory, and what is written in them."""

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: Recipe, facts: dict[str, Any]) -> Run:
        """Start a run in a directory that does not exist yet. Raises `UsageError` if it does.

        It is made aside and renamed: a kill leaves no directory, or one that resumes.
        """
        if path.exists():
            raise taken(path)
        try:
            with staged(path.parent, ".new-run-") as folder:
                write_text(file := folder / "recipe.toml", recipe.to_toml())
                facts = {"status": "running", **facts, "recipe_sha256": checksum(file)}
                _write_facts(folder / "run.json", facts)
                if not publish(folder, path):
                    raise taken(path)
        except OSError as error:
            raise UsageError(f"cannot make the run directory {path}: {error.strerror}") from None
        return cls(path)

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
        if not (path / "run.json").is_file():
            what = "is no run directory: it has no run.json" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} {what}; give a directory that kerasresnet.fit made in runs/")
        if not (path / "recipe.toml").is_file():
            raise UsageError(f"{path / 'recipe.toml'} is missing; {_RECIPE_AGAIN}")
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        """Raises `KerasResNetError` where it is not the one that the run began with."""
        self.check_recipe()
        return Recipe.from_toml(self.path / "recipe.toml")

    def check_recipe(self) -> None:
        """Raise `KerasResNetError` where recipe.toml is not what run.json says, or that is none."""
        path, wanted = self.path / "recipe.toml", self.facts.get("recipe_sha256")
        # A file that lacks its last lines may still be a recipe, of another training.
        if wanted and checksum(path) != wanted:
            raise KerasResNetError(
                f"{path} is damaged or was changed: its checksum is not the one in run.json; "
                f"{_RECIPE_AGAIN}"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says: name, data, seed, versions, device, status."""
        record = read_record(RunFacts, self.path / "run.json")
        return record.model_dump(mode="json", exclude_none=True)

    def fact(self, name: str) -> Any:
        """One entry of run.json. Raises `KerasResNetError` where it has none."""
        facts = self.facts
        if name not in facts:
            raise KerasResNetError(
                f"{self.path / 'run.json'} says no {name}, which every run of kerasresnet.fit does"
            )
        return facts[name]

    @property
    def results(self) -> dict[str, Any]:
        """What results.json says. Raises `UsageError` where the run has not finished."""
        if not self.results_path.is_file():
            raise UsageError(
                f"{self.path} has not finished; go on with "
                f"python -m kerasresnet.fit --resume {self.path}"
            )
        written = read_json(self.results_path)
        checked(RunResults, written, self.results_path)
        return written

    @property
    def model_path(self) -> Path:
        return self.path / "model.keras"

    @property
    def results_path(self) -> Path:
        return self.path / "results.json"

    @property
    def predictions_path(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def page_path(self) -> Path:
        return self.path / "report.html"

    @property
    def stages(self) -> dict[str, bool]:
        """Which of the things that a run does are done, in their order."""
        measured, states = self.results_path.is_file(), states_of(self.path)
        exported = self.facts.get("exported")
        return {
            "trained": self.holds_model()
            and (measured or (bool(states) and states[0].epoch >= self.recipe.epochs)),
            "measured": measured,
            "drawn": all((self.path / name).is_file() for name in PICTURES),
            "exported": exported is not None and Path(exported).exists(),
        }

    def model_checksum(self) -> str:
        """The SHA-256 of model.keras, by which an export says what it was made of."""
        return checksum(self.model_path)

    def holds_model(self) -> bool:
        """Whether model.keras is there, and every byte in it what was written."""
        try:
            with zipfile.ZipFile(self.model_path) as archive:  # which holds its own checksums
                return archive.testzip() is None
        except Exception:  # whatever a damaged archive makes its readers raise
            return False

    def update(self, **facts: Any) -> None:
        """Change some entries of run.json; None removes one."""
        with self.locked():
            _write_facts(self.path / "run.json", self.facts | facts)

    @contextlib.contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Nobody else trains this run, or writes in it, meanwhile; who holds it may do so again.

        Raises `UsageError` where another process does, after `wait` seconds.
        """
        refusal = f"{self.path} is being trained by another process"
        with locked(self.path / "run.lock", refusal, wait=wait, reentrant=True):
            yield

    @property
    def metrics(self) -> list[Row]:
        """One row for each finished epoch, first to last."""
        path = self.path / "metrics.json"
        if not path.is_file():
            return []
        return list(checked(Metrics, {"rows": read_json(path)}, path).rows)

    def write_metrics(self, rows: list[Row]) -> None:
        """Rewrite metrics.json and metrics.csv."""
        table = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(table, fieldnames=list(names))
        writer.writeheader()
        writer.writerows(rows)
        with self.locked():
            write_json(self.path / "metrics.json", rows)
            write_text(self.path / "metrics.csv", table.getvalue())

    def states(self) -> list[State]:
        """What it can be resumed from, newest first."""
        return states_of(self.path)

    def write_state(self, model: Any, epoch: int, rows: list[Row], average: Any = None) -> None:
        """Save weights and optimizer of the compiled `model` after `epoch`.

        `rows` are the metrics up to it; `average` is the model that holds the averaged weights, if
        there is one.
        """
        averaged = None if average is None else weights_file(average)
        with self.locked():
            State(self.path, epoch).write(weights_file(model), averaged, rows)

    def save_model(self, model: Any) -> None:
        """Save `model`, which was never compiled, as model.keras."""
        with self.locked():
            write_bytes(self.model_path, model_file(model))

    def write_results(self, results: dict[str, Any]) -> None:
        checked(RunResults, results, self.results_path)
        with self.locked():
            write_json(self.results_path, results)

    def remove_leftovers(self) -> None:
        """Remove what a killed process was writing. The caller holds the lock."""
        for path in self.path.glob(f"{ASIDE}*"):
            path.unlink(missing_ok=True)


def _write_facts(path: Path, facts: dict[str, Any]) -> None:
    record = checked(RunFacts, {k: v for k, v in facts.items() if v is not None}, path)
    write_json(path, record.model_dump(mode="json", exclude_none=True))


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
