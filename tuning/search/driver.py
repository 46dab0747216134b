"""The search itself: asks the oracle for trials, has an engine run them, tells the oracle how they
went.

It lives in one process, and trains nothing there. Killed and started again, it goes on: what ran is
run again first, each trial from its own last epoch.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from kerasresnet.disk import NoRoom
from kerasresnet.errors import KerasResNetError
from kerasresnet.machine import quiet_tensorflow
from tuning.engine.job import Ended, Engine
from tuning.search.oracle import build_oracle
from tuning.search.project import OBJECTIVE, Project
from tuning.search.trial import prepare, train_trial

if TYPE_CHECKING:
    from tuning.search.oracle.oracle import BudgetedOracle

PAUSE = 1.0  # seconds after which an engine is looked at again that had nothing to tell


def drive(
    project: Project, engine: Engine, data_dir: Path | None = None, *, verbose: bool = False
) -> None:
    """Run the search of `project` to its end on `engine`.

    Raises `UsageError` where the data refuses it or no network is quick enough, `NoRoom` where a
    disk is full, `Stopped` where the engine was stopped.
    """
    try:
        _drive(project, engine, data_dir and data_dir.resolve(), verbose)
    except NoRoom as error:
        raise NoRoom(f"{error}, then the same command goes on with the search") from None


def _drive(project: Project, engine: Engine, data_dir: Path | None, verbose: bool) -> None:
    folder = project.path.resolve()
    engine.call_here(prepare, folder, data_dir, verbose)
    quiet_tensorflow(verbose)  # keras-tuner loads it
    oracle = build_oracle(project.settings, project.space, folder)
    if most := project.settings.max_epoch_seconds:
        from tuning.search.oracle.time_limit import TimeLimit
        from tuning.search.timing import EpochTimes

        oracle.time_limit = TimeLimit(EpochTimes(folder, engine.call), most)
    oracle.reload()
    Driver(folder, oracle, engine, verbose).run()


class Driver:
    """Keeps every slot of `engine` busy with trials of `oracle`."""

    def __init__(
        self, folder: Path, oracle: BudgetedOracle, engine: Engine, verbose: bool = False
    ) -> None:
        self.folder, self.oracle, self.engine, self.verbose = folder, oracle, engine, verbose
        self._name = uuid.uuid4().hex  # of this start of the search
        self._given = 0

    def run(self) -> None:
        """Until no trial runs and none comes."""
        while self.fill():
            for ended in self.engine.ended(PAUSE):
                self.record(ended)
        self.oracle.save()

    def fill(self) -> bool:
        """Give out trials while there are free slots; whether any runs."""
        from keras_tuner.engine.trial import TrialStatus

        while len(self.oracle.ongoing_trials) < self.engine.slots:
            trial = self.oracle.create_trial(str(self._given))
            if trial.status != TrialStatus.RUNNING:
                break
            self._given += 1
            values = dict(trial.hyperparameters.values)
            self.engine.submit(
                trial.trial_id,
                train_trial,
                *(self.folder, trial.trial_id, values, self._name, self.verbose, time.time()),
            )
        return bool(self.oracle.ongoing_trials)

    def record(self, ended: Ended) -> None:
        """Tell the oracle the score of a trial, or why it has none.

        Raises `NoRoom` where that is a full disk, which is no fault of the trial's.
        """
        from keras_tuner.engine.trial import TrialStatus

        if isinstance(ended.error, NoRoom):
            raise ended.error
        trial = self.oracle.trials[ended.name]
        if ended.error is None:
            self.oracle.update_trial(ended.name, {OBJECTIVE: ended.value})
            trial.status = TrialStatus.COMPLETED
        else:  # it would fail again: another is drawn instead
            trial.status, trial.message = TrialStatus.FAILED, _told(ended.error)
        self.oracle.end_trial(trial)


def _told(error: KerasResNetError) -> str:
    return f"{type(error).__name__}: {error}"
