"""Which process has which trial, and for how long after it was last heard of."""

from __future__ import annotations

import time
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

LEASE = 60.0  # seconds without a word after which a worker's trial is taken back
STRIDE = 2.0  # seconds that count at most between two looks; beyond, the chief itself was away


class LeasedOracle:
    """Mixed into an oracle of keras-tuner: a trial of a dead worker is given to another.

    With `keep_ongoing`, as a chief has it, trials that were running when the oracle was saved stay
    their workers' for one lease after `reload`; without, they wait for whoever asks first.
    """

    keep_ongoing = False
    lease = LEASE

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._heard: dict[str, float] = {}  # trial → when, by `_listened`, its worker last spoke
        self._listened = 0.0  # seconds; stands still while this process cannot hear anybody
        self._looked = time.monotonic()
        self._ongoing_when_saved: dict[str, Trial] = {}
        super().__init__(*args, **settings)

    @keras_tuner.synchronized  # or `take_back` could come between the answer and the check
    def create_trial(self, tuner_id: str) -> Trial:
        """The worker's own trial where it has one, else the next.

        IDLE while others still run theirs: one of them may die, and leave its trial to this one.
        """
        trial = super().create_trial(tuner_id)
        self._hear(trial.trial_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            trial.status = TrialStatus.IDLE
            self.tuner_ids.add(tuner_id)
        return trial

    def get_trial(self, trial_id: str) -> Trial:
        """The trial; asked for by its worker now and then, a sign that it is alive."""
        self._hear(trial_id)
        return super().get_trial(trial_id)

    @keras_tuner.synchronized
    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """Note the metrics, once: a worker that was given up may report what another has."""
        if trial_id in self.end_order or self.trials[trial_id].metrics.exists(self.objective.name):
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step=step)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """End the trial, once: a late report of one that has ended is ignored."""
        if trial.trial_id in self.trials and trial.trial_id not in self.end_order:
            if trial.trial_id in self._retry_queue:
                self._retry_queue.remove(trial.trial_id)
            super().end_trial(trial)
        self._forget(trial.trial_id)

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._ongoing_when_saved = dict(self.ongoing_trials)

    def reload(self) -> None:
        super().reload()
        # keras-tuner has put them all into the queue.
        if self.keep_ongoing:
            self.ongoing_trials = self._ongoing_when_saved
            self.tuner_ids.update(self.ongoing_trials)  # who must hear that the search is over
            kept = {trial.trial_id for trial in self.ongoing_trials.values()}
            self._retry_queue = [i for i in self._retry_queue if i not in kept]
            for trial_id in kept:
                self._hear(trial_id)

    @keras_tuner.synchronized
    def take_back(self) -> list[str]:
        """Put trials whose worker has been silent for a lease into the queue; their ids.

        To be called more often than every `STRIDE` seconds. What is longer does not count: a
        chief that was stopped, or busy with one call, could not hear workers that spoke.
        """
        now = time.monotonic()
        self._listened += min(now - self._looked, STRIDE)
        self._looked = now
        silent = [
            (tuner_id, trial.trial_id)
            for tuner_id, trial in self.ongoing_trials.items()
            if self._listened - self._heard.get(trial.trial_id, 0.0) > self.lease
        ]
        for tuner_id, trial_id in silent:
            del self.ongoing_trials[tuner_id]
            self.tuner_ids.discard(tuner_id)
            self._retry_queue.append(trial_id)
        if silent:
            self.save()
        return [trial_id for _, trial_id in silent]

    def _hear(self, trial_id: str) -> None:
        self._heard[trial_id] = self._listened

    def _forget(self, trial_id: str) -> None:
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.trial_id == trial_id and trial.status != TrialStatus.RUNNING:
                del self.ongoing_trials[tuner_id]
