"""keras-tuner's oracles, kept inside the parameter budget and safe against kills.

What is added, through the methods that keras-tuner documents: choices that fit by construction, a
gate that no other can pass, equal networks recognised as one, failed trials drawn again, atomic
files. What a trial is stands in its trial.json; oracle.json holds what no trial can tell, and stays
small however many there are.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasresnet.disk import cannot_write, read_json, write_json
from kerasresnet.network.budget import check_budget
from tuning.search.oracle.time_limit import SLOW, TimeLimit
from tuning.search.project import OBJECTIVE, trial_folder
from tuning.search.space.space import Space
from tuning.search.space.start import first_choice

FAILURES = 8  # trials that fail one after the other before no more are given out
DUPLICATES = 200  # draws that give nothing new, after which the space counts as used up
DIGITS = 4  # of a trial's number, where nothing says how many there will be


class BudgetedOracle(keras_tuner.Oracle):
    """Mixed into an oracle of keras-tuner: every trial it gives out is inside the budget.

    Its files are in `folder`. With a `time_limit`, trials are inside that too: what is slower
    becomes no trial, and no bracket loses a place by it.
    """

    time_limit: TimeLimit | None = None
    epochs = 1
    """Of a trial that goes to the end."""

    def __init__(self, folder: Path, space: Space, **settings: Any) -> None:
        self.folder, self.networks = folder, space
        seed = settings.pop("seed")
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "max"),
            hyperparameters=space.declared(),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=seed + 1,  # 0 would mean a random one
            **settings,
        )
        self.interrupted: list[str] = []
        """Trials that ran when the search was stopped: they are given out again first."""
        self.failed = 0
        self._failures = 0  # in a row, in this process
        self._draws = self.seed  # the number of the next draw
        self._known: set[str] = set()  # networks that are trials
        self._ended: set[str] = set()

    # What keras-tuner asks of an oracle

    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial; STOPPED after `FAILURES` failed ones in a row."""
        if self.interrupted:
            trial = self.trials[self.interrupted.pop(0)]
        elif self._failures >= FAILURES or self._is_full():
            return self._trial("", {}, TrialStatus.STOPPED)
        else:
            trial_id = self._number(len(self.trials))
            response = self.populate_space(trial_id)
            trial = self._trial(trial_id, response.get("values") or {}, response["status"])
            if trial.status != TrialStatus.RUNNING:
                return trial
            # The gate: whatever drew or suggested them, values over the limit become no trial.
            spec = self.networks.network(trial.hyperparameters.values)
            check_budget(spec, self.networks.base.max_params)
            self._add(trial)
            self._write(trial)
        self.ongoing_trials[tuner_id] = trial
        self.save()
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Note what a trial has reached; it is written when the trial ends."""
        trial = self.trials[trial_id]
        for name, value in metrics.items():
            if not trial.metrics.exists(name):
                trial.metrics.register(name, direction=self.objective.direction)
            trial.metrics.update(name, value, step=step)
        return trial

    def end_trial(self, trial: Trial) -> None:
        """End the trial, once; a score that is no number is a failure."""
        if trial.trial_id in self._ended:
            return
        kept = self.trials[trial.trial_id]
        kept.status, kept.message = trial.status, trial.message
        if kept.status == TrialStatus.COMPLETED:
            self.score_trial(kept)
            if math.isnan(kept.score):
                kept.status, kept.message = TrialStatus.FAILED, "its score is no number"
        self._write(kept)
        self._failures = self._failures + 1 if kept.status == TrialStatus.FAILED else 0
        self.ongoing_trials = {k: t for k, t in self.ongoing_trials.items() if t is not kept}
        self._close(kept)

    def get_state(self) -> dict[str, Any]:
        return {
            "ongoing_trials": {k: trial.trial_id for k, trial in self.ongoing_trials.items()},
            "trials": len(self.trials),
            "seed_state": self._draws,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """The state as it was saved, by keras-tuner's own methods too; `trials` are there already.

        A trial whose folder was deleted counts as failed.
        """
        self._draws = state.get("seed_state", self.seed)
        begun = state.get("trials", len(state.get("start_order", ())))
        for number in set(range(begun)) - set(map(int, self.trials)):
            told = "its folder was deleted"
            gone = self._trial(self._number(number), {}, TrialStatus.FAILED, told)
            self._write(gone)
            self._add(gone)
            self._close(gone)

    def save(self) -> None:
        write_json(self.folder / "oracle.json", self.get_state())

    def reload(self) -> None:
        """All that is written in the folder; what ran is to be run again, by whoever asks first."""
        read = [read_json(path) for path in self.folder.glob("trial_*/trial.json")]
        for state in sorted(read, key=lambda state: int(state["trial_id"])):
            values, told = state["hyperparameters"]["values"], state.get("message")
            trial = self._trial(state["trial_id"], values, state["status"], told)
            trial.score, trial.best_step = state["score"], state.get("best_step", 0)
            self._add(trial)
            if trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
                self._close(trial)
            else:
                trial.status = TrialStatus.RUNNING
                self.interrupted.append(trial.trial_id)
        file, drawn = self.folder / "oracle.json", [state.get("draws") or 0 for state in read]
        lost = {"seed_state": max(drawn, default=0) or self.seed}
        self.set_state(read_json(file) if file.is_file() else lost)
        if self.trials:
            self.save()

    # What all of ours share

    def _draw(self) -> dict[str, Any] | None:
        """A choice that was never tried, or None where the space seems to hold no other.

        The first is the one nearest to the base recipe. Raises `UsageError` where the limit of time
        refuses `SLOW` in a row and has allowed none before.
        """
        refused = 0
        if not self.trials and (first := first_choice(self.networks)):
            if self._is_quick(first):
                return first
            refused += 1
        for _ in range(DUPLICATES):
            values = self.networks.sample(random.Random(f"{self.seed}/{self._draws}"))
            self._draws += 1
            if not self._is_new(values):
                continue
            if self._is_quick(values):
                return values
            refused += 1
            if refused == SLOW:
                break
        if refused and not self.trials:
            raise self.time_limit.nothing_allowed(refused)
        return None

    def _is_new(self, values: Mapping[str, Any]) -> bool:
        return self.networks.identity(values) not in self._known

    def _is_quick(self, values: Mapping[str, Any]) -> bool:
        """Whether a choice is inside the limit of time, where there is one."""
        return self.time_limit is None or self.time_limit.allows(self.networks.recipe(values))

    def _is_full(self) -> bool:
        """Whether there are as many trials as were asked for."""
        return False

    def _number(self, number: int) -> str:
        """A trial's id."""
        return f"{number:0{DIGITS}}"

    def _trial(
        self, trial_id: str, values: dict[str, Any], status: str, message: str | None = None
    ) -> Trial:
        choice = copy.copy(self.hyperparameters)  # all share one description of the space
        choice.values = values
        return Trial(choice, trial_id, status, message)

    def _add(self, trial: Trial) -> None:
        """Count a trial that begins, or that is read back."""
        self.trials[trial.trial_id] = trial
        self.start_order.append(trial.trial_id)
        values = trial.hyperparameters.values
        if values and "tuner/trial_id" not in values:  # a promoted one is its parent's network
            self._known.add(self.networks.identity(values))

    def _close(self, trial: Trial) -> None:
        """Count a trial that has ended, or that is read back as such."""
        self.end_order.append(trial.trial_id)
        self._ended.add(trial.trial_id)
        self.failed += trial.status == TrialStatus.FAILED

    def _write(self, trial: Trial) -> None:
        state = {
            "trial_id": trial.trial_id,
            "hyperparameters": {"values": trial.hyperparameters.values},
            "metrics": trial.metrics.get_config(),
            "score": trial.score,
            "best_step": trial.best_step,
            "status": trial.status,
            "message": trial.message,
            "draws": self._draws,
        }
        home = trial_folder(self.folder, trial.trial_id)
        try:
            home.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(home, error) from None
        write_json(home / "trial.json", state)


class _WithMaxTrials(BudgetedOracle):
    """Oracles that give out a number of trials, each trained to the end; failed ones are extra."""

    def _is_full(self) -> bool:
        return len(self.trials) >= self.max_trials + self.failed

    def _number(self, number: int) -> str:
        return f"{number:0{len(str(self.max_trials + self.failed))}}"

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        values = self._choose(trial_id)
        if values is None:
            return {"status": TrialStatus.STOPPED}
        values["tuner/epochs"] = self.epochs
        return {"status": TrialStatus.RUNNING, "values": values}

    def _choose(self, trial_id: str) -> dict[str, Any] | None:
        return self._draw()


class RandomOracle(_WithMaxTrials, keras_tuner.oracles.RandomSearchOracle):
    """Random search inside the budget."""


class BayesianOracle(_WithMaxTrials, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization; what it suggests outside the budget, or twice, is drawn instead."""

    def _choose(self, trial_id: str) -> dict[str, Any] | None:
        done = sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values())
        if done < self.num_initial_points:
            return self._draw()
        suggested = keras_tuner.oracles.BayesianOptimizationOracle.populate_space(self, trial_id)
        values = self.networks.canonical(suggested["values"])
        new = self.networks.fits(values) and self._is_new(values)
        return values if new and self._is_quick(values) else self._draw()
