"""How long an epoch of a network takes here: some of its real steps, timed before its trial begins.

Parameters and MACs do not say it: at equal ones, epochs took 7 to 130 s.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import keras

from kerasresnet.data import steps_per_epoch
from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, first_line
from kerasresnet.fit.epochs import Part, train_epochs
from kerasresnet.machine import Precision, describe_device, quiet_tensorflow, resolve_precision
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.engine.memory import forget_models
from tuning.search.images import search_images
from tuning.search.project import EPOCH_TIMES, Project, say

WARM, TIMED = 3, 8  # steps: the first ones trace, compile and fill caches
LONGEST = 30.0  # seconds of timed steps after which those that there are must do


class _Timed(Exception):
    """Enough steps have been timed."""


class _Clock(keras.callbacks.Callback):
    """Times the steps of a training, data and augmentation included, and ends it with `_Timed`."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    @property
    def steps(self) -> list[float]:
        """Seconds of each step behind the warm ones; of the last where there are no more."""
        both = list(zip(self.ends, self.ends[1:], strict=False))
        return [end - start for start, end in both[WARM - 1 :] or both[-1:]]

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())
        timed = self.steps if len(self.ends) > WARM else []
        if len(timed) >= TIMED or sum(timed) > LONGEST:
            raise _Timed


def time_step(recipe: Recipe, train: Part) -> float:
    """Seconds of a training step of `recipe` on `train`, the median of a few.

    Trained as a trial is: precision, batch, augmentation, compilation; full-size images, and a
    learning rate so low that nothing can blow up meanwhile.
    """
    recipe = recipe.replace(learning_rate=1e-6, resolution=None)
    clock, nothing = _Clock(), (train[0][:0], train[1][:0])
    with tempfile.TemporaryDirectory(prefix="kerasresnet-timing-") as folder:
        run = Run.create(Path(folder) / "run", recipe, {})
        try:
            train_epochs(run, recipe, train, nothing, seed=0, callbacks=[clock])
        except _Timed:
            pass
        finally:
            forget_models()
    return statistics.median(clock.steps)


def describe() -> dict[str, Any]:
    """The device of this process, and what each precision means on it."""
    return {
        "device": describe_device(),
        "precisions": {name: resolve_precision(name) for name in get_args(Precision)},
    }


def time_trial_step(folder: Path, recipe: Recipe) -> float:
    """`time_step` on the training images of the search in `folder`."""
    quiet_tensorflow()
    return time_step(recipe, search_images(Project.open(folder)).train)


class EpochTimes:
    """Seconds of a recipe's epoch of training, validation left out: measured once, then remembered.

    `call` runs a function in a process that trains. Times are kept in the search's folder, by spec,
    batch size, precision, device and steps. A network that cannot be timed (its process died of it,
    or it raised) is None: its trial will say why.
    """

    def __init__(self, folder: Path, call: Callable[..., Any]) -> None:
        self.folder, self.path = folder, folder / EPOCH_TIMES
        self.call = call
        self._rows = _rows_of(self.path) if self.path.is_file() else []

    @functools.cached_property
    def _here(self) -> dict[str, Any]:
        return self.call(describe)

    @functools.cached_property
    def _images(self) -> int:
        return len(search_images(Project.open(self.folder)).train[0])

    def __call__(self, recipe: Recipe) -> float | None:
        steps = steps_per_epoch(recipe.images_by_epoch(self._images), recipe.batch_size)
        row = {
            "spec": recipe.spec.to_text(),
            "batch_size": recipe.batch_size,
            "precision": self._here["precisions"][recipe.precision],
            "device": self._here["device"],
            "steps": steps,
        }
        known = next((old for old in self._rows if row.items() <= old.items()), None)
        seconds = (known or self._measured(row, recipe)).get("step_seconds")
        return None if seconds is None else steps * seconds

    def _measured(self, row: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
        write_json(self.path, [*self._rows, row | {"timed_by": f"process {os.getpid()}"}])
        try:
            seconds = self.call(time_trial_step, self.folder, recipe)
            self._rows.append(row | {"step_seconds": round(seconds, 5)})
        except KerasResNetError as error:
            self._rows.append(row | {"error": first_line(error)})
        write_json(self.path, self._rows)
        return self._rows[-1]


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """What was timed before; nothing, and a line on stderr, where the file is damaged."""
    try:
        # What was being timed when its search was stopped says nothing.
        return [{**row} for row in read_json(path) if "timed_by" not in row]
    except (KerasResNetError, TypeError) as error:
        say(f"{path} is damaged ({first_line(error)}): epochs are timed again")
        return []
