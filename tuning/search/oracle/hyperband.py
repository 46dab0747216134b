"""Hyperband (Li et al., arXiv 1603.06560) whose brackets stay full when trials fail.

The brackets are our own: those of keras-tuner's oracle are private, and a failed trial truncates
them. They are read back from the trials, so nothing of them is saved.
"""

from __future__ import annotations

from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from tuning.search.oracle.brackets import Bracket, Rung, plan_brackets
from tuning.search.oracle.oracle import BudgetedOracle


class _Filling:
    """A rung as it fills: trials that run, those that are done and were never promoted, and those
    that were: one of them may run again, where its run was lost."""

    def __init__(self, rung: Rung) -> None:
        self.rung = rung
        self.running: dict[str, Trial] = {}
        self.ready: dict[str, Trial] = {}
        self.promoted: set[str] = set()
        self.done = 0  # trials that did not fail, promoted or not

    @property
    def vacancies(self) -> int:
        return self.rung.trials - self.done - len(self.running)


class _Open:
    """A bracket that has begun."""

    def __init__(self, bracket: Bracket) -> None:
        self.bracket = bracket
        self.rungs = [_Filling(rung) for rung in bracket.rungs]
        self.used_up = False  # nothing new in the space: the first rung goes on with less

    def to_come(self, rung: int) -> int:
        """Trials that a rung can still get beside those it has."""
        here = self.rungs[rung]
        if rung == 0:
            return 0 if self.used_up else here.vacancies
        below = self.rungs[rung - 1]
        coming = len(below.ready) + len(below.running) + self.to_come(rung - 1)
        return min(here.vacancies, coming)

    def next_promoted(self, rung: int) -> Trial | None:
        """The best of the rung below that can go on, or None where it is not known yet."""
        below = self.rungs[rung - 1]
        pending = len(below.running) + self.to_come(rung - 1)
        if not below.ready or pending >= self.rungs[rung].vacancies:
            return None
        return max(below.ready.values(), key=lambda trial: (trial.score, -int(trial.trial_id)))

    @property
    def is_over(self) -> bool:
        """Whether every rung is full, or as full as it can get, and nothing runs."""
        numbers = range(len(self.rungs))
        return not any(self.rungs[n].running or self.to_come(n) for n in numbers)


class HyperbandOracle(BudgetedOracle, keras_tuner.oracles.HyperbandOracle):
    """A rung promotes its best as soon as no trial still running could displace it.

    A failed trial leaves its place: a new draw takes it in the first rung, the next best in a later
    one.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        plan = plan_brackets(self.max_epochs, self.factor, self.hyperband_iterations)
        self._to_begin = list(reversed(plan.brackets))
        self._begun: dict[tuple[int, int], _Open] = {}  # those that are not over

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        while True:
            for place, found in list(self._begun.items()):
                if values := self._next_in(found):
                    return {"status": TrialStatus.RUNNING, "values": values}
                if found.is_over:
                    del self._begun[place]
            if not self._to_begin:
                status = TrialStatus.IDLE if self._begun else TrialStatus.STOPPED
                return {"status": status}
            self._begin()

    def _begin(self) -> None:
        bracket = self._to_begin.pop()
        self._begun[bracket.iteration, bracket.number] = _Open(bracket)

    def _next_in(self, found: _Open) -> dict[str, Any] | None:
        """The next choice of a bracket, with its place in it; None where there is none now."""
        if not found.used_up and found.rungs[0].vacancies:
            if (values := self._draw()) is not None:
                return {**values, **_place(found.bracket, 0), "tuner/initial_epoch": 0}
            found.used_up = True
        for rung in range(1, len(found.rungs)):
            if best := found.next_promoted(rung):
                return {
                    **best.hyperparameters.values,
                    **_place(found.bracket, rung),
                    "tuner/initial_epoch": best.hyperparameters.values["tuner/epochs"],
                    "tuner/trial_id": best.trial_id,
                }
        return None

    def _add(self, trial: Trial) -> None:
        super()._add(trial)
        if found := self._bracket_of(trial):
            rung = trial.hyperparameters.values["tuner/round"]
            found.rungs[rung].running[trial.trial_id] = trial
            if rung:
                parent = trial.hyperparameters.values["tuner/trial_id"]
                found.rungs[rung - 1].ready.pop(parent, None)
                found.rungs[rung - 1].promoted.add(parent)

    def _close(self, trial: Trial) -> None:
        super()._close(trial)
        if found := self._bracket_of(trial):
            rung = found.rungs[trial.hyperparameters.values["tuner/round"]]
            rung.running.pop(trial.trial_id, None)
            if trial.status == TrialStatus.COMPLETED:
                rung.done += 1
                if trial.trial_id not in rung.promoted:
                    rung.ready[trial.trial_id] = trial

    def _bracket_of(self, trial: Trial) -> _Open | None:
        """The bracket of a trial; None where the trial's folder was deleted, and tells nothing."""
        values = trial.hyperparameters.values
        if "tuner/bracket" not in values:
            return None
        place = values["tuner/iteration"], values["tuner/bracket"]
        while place not in self._begun and self._to_begin:
            self._begin()
        return self._begun.get(place)


def _place(bracket: Bracket, rung: int) -> dict[str, int]:
    return {
        "tuner/epochs": bracket.rungs[rung].epochs,
        "tuner/bracket": bracket.number,
        "tuner/round": rung,
        "tuner/iteration": bracket.iteration,
    }
