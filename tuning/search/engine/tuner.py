"""keras-tuner's Tuner with a run for every trial: a promoted one goes on where it stood."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasresnet.disk import is_full
from kerasresnet.errors import KerasResNetError
from kerasresnet.fit.epochs import train_epochs
from kerasresnet.machine import describe_device, resolve_precision
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.build import build_model
from kerasresnet.run import Run, versions
from tuning.search.engine.supervise import SUPERVISOR
from tuning.search.images import SearchImages
from tuning.search.oracle.oracle import OBJECTIVE, BudgetedOracle
from tuning.search.space.space import Space

STARTS = 3  # times that a trial may begin an epoch under one supervisor before it counts as failed
LONGEST_PAUSE = 5.0  # seconds between two questions for a trial
GIVEN_UP = 60.0  # seconds that a process which lost its trial may need to let go of it


class _Network(keras_tuner.HyperModel):
    """The network of a choice, for keras-tuner's check of its size."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return build_model(self.space.network(hp.values))


class ResumableTuner(keras_tuner.Tuner):
    """Runs trials one after the other, each in `trial_<id>/run`, until none is left.

    `oracle` is one of `tuning.search.oracle`, `path` the directory of the search. Trials train a
    recipe of `space.base.epochs` epochs, up to the epoch of their rung.
    """

    def __init__(self, oracle: BudgetedOracle, path: Path, space: Space, seed: int) -> None:
        self.space = space
        self.seed = seed
        super().__init__(
            oracle=oracle,
            hypermodel=_Network(space),
            max_model_size=space.base.max_params,
            directory=path.parent,
            project_name=path.name,
        )

    def _populate_initial_space(self) -> None:
        """Nothing: keras-tuner's would build networks to find dimensions; all are declared."""

    def _get_tuner_fname(self) -> str:
        # What decides whether there is something to reload: keras-tuner's own file may be missing.
        return os.path.join(self.project_dir, "oracle.json")

    def save(self) -> None:
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()

    def search(
        self,
        images: SearchImages,
        *,
        enough: Callable[[], bool] = lambda: False,
        heartbeat: Callable[[str], contextlib.AbstractContextManager] = contextlib.nullcontext,
    ) -> bool:
        """Run trials until the oracle has no more (True), or `enough()` says so after one (False).

        `heartbeat(trial_id)` is held while a trial runs.
        """
        pause = 0.1
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = 0.1
            self.on_trial_begin(trial)
            with heartbeat(trial.trial_id):
                self._try_run_and_update_trial(trial, images)
            self.on_trial_end(trial)
            if enough():
                return False

    def run_trial(self, trial: Trial, images: SearchImages) -> dict[str, float]:
        """Train the trial's run up to its rung; the score is that of the rung's last epoch."""
        self._try_build(trial.hyperparameters)  # refuses what is too large; forgets the last model
        run = self.run_of(trial, images)
        epochs = trial.hyperparameters.values["tuner/epochs"]
        with run.locked(wait=GIVEN_UP):
            self._count_start(run)
            train_epochs(
                run,
                run.recipe,
                images.train,
                images.val,
                seed=run.facts["seed"],
                until=epochs,
                statistics=images.statistics,
            )
            finished = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            run.update(status="finished", finished=finished, starts=None, error=None)
        return {OBJECTIVE: run.metrics[epochs - 1][OBJECTIVE]}

    def run_of(self, trial: Trial, images: SearchImages) -> Run:
        """The trial's run: the one it has, a copy of what it was promoted from, or a new one."""
        home = Path(self.get_trial_dir(trial.trial_id))
        if (home / "run").is_dir():
            return Run.open(home / "run")
        aside = home / f"aside-run-{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        values = trial.hyperparameters.values
        if parent := values.get("tuner/trial_id"):
            # Links are enough: a run replaces its files, and never writes into one.
            shutil.copytree(
                Path(self.get_trial_dir(parent)) / "run",
                aside,
                copy_function=_link_or_copy,
                ignore=shutil.ignore_patterns("*.lock"),  # a link would be the parent's own
            )
        else:
            recipe = self.space.recipe(values)
            Run.create(aside, recipe, self._facts(trial, recipe, images))
        os.rename(aside, home / "run")
        return Run.open(home / "run")

    def _facts(self, trial: Trial, recipe: Any, images: SearchImages) -> dict[str, Any]:
        # Seeds far apart, the same on every machine, whoever runs the trial.
        seed = np.random.SeedSequence([self.seed, int(trial.trial_id)]).generate_state(1)[0]
        return {
            "name": recipe.name,
            "seed": int(seed) % 2**31,
            "precision": resolve_precision(recipe.precision),
            "device": describe_device(),
            "parameters": count_parameters(recipe.spec),
            "macs": count_macs(recipe.spec),
            "labels": list(images.labels),
            "images": {"train": len(images.train[0]), "val": len(images.val[0])},
            "versions": versions(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }

    def _count_start(self, run: Run) -> None:
        """Note the start; raises `KerasResNetError` where the same epoch killed its process.

        Counted for each supervisor by itself: one that was stopped took its processes with it,
        and such an end says nothing of the trial.
        """
        before, epoch = run.facts.get("starts"), len(run.metrics)
        same = isinstance(before, dict) and before["epoch"] == epoch
        counts = before["by"] if same else {}
        supervisor = os.environ.get(SUPERVISOR, "")
        counts = {**counts, supervisor: counts.get(supervisor, 0) + 1}
        run.update(status="running", starts={"epoch": epoch, "by": counts})
        if counts[supervisor] > STARTS:
            raise KerasResNetError(f"its process died {STARTS} times in epoch {epoch + 1}")

    def _try_run_and_update_trial(self, trial: Trial, images: SearchImages) -> None:
        """A failure costs its trial alone, and is written down where every process can read it.

        A full disk is no fault of the trial's: what was raised is raised again.
        """
        try:
            super()._try_run_and_update_trial(trial, images)
        except keras_tuner.errors.FatalError as error:
            raise error.__cause__ or error from None
        if trial.status == TrialStatus.COMPLETED:
            return
        trial.status = TrialStatus.FAILED  # it would fail again: another is drawn instead
        lines = (trial.message or "").strip().splitlines()
        run = Path(self.get_trial_dir(trial.trial_id)) / "run"
        if (run / "run.json").is_file() and lines:
            with contextlib.suppress(KerasResNetError):  # it is another's now, or the disk is full
                Run(run).update(status="failed", error=lines[-1].partition(": ")[2] or lines[-1])

    def _run_and_update_trial(self, trial: Trial, images: SearchImages) -> None:
        try:
            self.oracle.update_trial(trial.trial_id, self.run_trial(trial, images))
        except (KerasResNetError, OSError) as error:
            if is_full(error):
                raise keras_tuner.errors.FatalError("the disk is full") from error
            raise


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
