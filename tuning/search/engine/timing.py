"""How long an epoch of a network takes here: some of its real steps, timed before its trial begins.

Parameters and MACs do not say it: at equal ones, epochs took 7 to 130 s.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras

from kerasresnet.data import steps_per_epoch
from kerasresnet.disk import read_json, write_json
from kerasresnet.fit.epochs import Part, train_epochs
from kerasresnet.machine import describe_device, resolve_precision
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.search.engine.memory import forget_models
from tuning.search.engine.supervise import SUPERVISOR
from tuning.search.project import EPOCH_TIMES

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


class EpochTimes:
    """Seconds of a recipe's epoch of training, validation left out: measured once, then remembered.

    Kept in the search's folder, by spec, batch size, precision, device and steps. A network that
    cannot be timed (its process died of it, or it raised) is None: its trial will say why.
    """

    def __init__(self, folder: Path, train: Part) -> None:
        self.path = folder / EPOCH_TIMES
        self.train = train
        self.device = describe_device()
        # A process that was stopped with its supervisor says nothing of what it timed.
        self._us = os.environ.get(SUPERVISOR) or f"process {os.getpid()}"

    def __call__(self, recipe: Recipe) -> float | None:
        steps = steps_per_epoch(len(self.train[0]), recipe.batch_size)
        row = {
            "spec": recipe.spec.to_text(),
            "batch_size": recipe.batch_size,
            "precision": resolve_precision(recipe.precision),
            "device": self.device,
            "steps": steps,
        }
        rows = read_json(self.path) if self.path.is_file() else []
        known = next((old for old in rows if row.items() <= old.items()), None)
        if known is None or known.get("timed_by") not in (None, self._us):
            rows = [old for old in rows if old is not known]
            known = self._measured(row, rows, recipe)
        seconds = known.get("step_seconds")
        return None if seconds is None else steps * seconds

    def _measured(
        self, row: dict[str, Any], rows: list[dict[str, Any]], recipe: Recipe
    ) -> dict[str, Any]:
        write_json(self.path, [*rows, row | {"timed_by": self._us}])
        try:
            found = {"step_seconds": round(time_step(recipe, self.train), 5)}
        except Exception as error:
            found = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
        write_json(self.path, [*rows, row | found])
        return row | found
