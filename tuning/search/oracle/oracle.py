"""keras-tuner's oracles, kept inside the parameter budget and safe against kills.

What is added: choices that fit by construction, a gate that no other can pass, equal networks
recognised as one, failed trials drawn again, atomic files, a saved state that is always whole.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from kerasresnet.disk import read_json, write_json
from kerasresnet.network.budget import check_budget
from tuning.search.oracle.leases import LeasedOracle
from tuning.search.oracle.time_limit import SLOW, TimeLimit
from tuning.search.project import Settings
from tuning.search.space.space import Space
from tuning.search.space.start import first_choice

OBJECTIVE = "val_accuracy"
FAILURES = 8  # trials that fail one after the other before a process stops asking for more
DUPLICATES = 200  # draws that give nothing new, after which the space counts as used up


class BudgetedOracle(LeasedOracle):
    """Mixed into an oracle of keras-tuner: every trial it gives out is inside the budget.

    With a `time_limit`, inside that too: what is slower becomes no trial, and no bracket loses a
    place by it.
    """

    time_limit: TimeLimit | None = None

    def __init__(self, space: Space, **settings: Any) -> None:
        self.networks = space
        seed = settings.pop("seed")
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "max"),
            hyperparameters=space.declared(),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=seed + 1,  # 0 would mean a random one
            **settings,
        )
        self._display.verbose = 0
        self._failures = 0

    def _random_values(self) -> dict[str, Any] | None:
        """A choice that was never tried, or None where the space seems to hold no other.

        The first is the one nearest to the base recipe. Raises `UsageError` where the limit of time
        refuses `SLOW` in a row and has allowed none before.
        """
        refused = 0
        if not self.start_order and (first := first_choice(self.networks)):
            if self._is_quick(first):
                return first
            refused += 1
        for _ in range(DUPLICATES):
            values = self.networks.sample(random.Random(f"{self.seed}/{self._seed_state}"))
            self._seed_state += 1
            if self._duplicate(values):
                continue
            if self._is_quick(values):
                return values
            refused += 1
            if refused == SLOW:
                break
        if refused and not self.start_order:
            raise self.time_limit.nothing_allowed(refused)
        return None

    def _is_quick(self, values: dict[str, Any]) -> bool:
        """Whether a choice is inside the limit of time, where there is one."""
        return self.time_limit is None or self.time_limit.allows(self.networks.recipe(values))

    def create_trial(self, tuner_id: str) -> keras_tuner.engine.trial.Trial:
        """The next trial; STOPPED after `FAILURES` failed ones in a row."""
        if self._failures >= FAILURES:
            return keras_tuner.engine.trial.Trial(self.get_space(), "", TrialStatus.STOPPED)
        return super().create_trial(tuner_id)

    def _record_values(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """The gate: whatever drew or suggested them, values over the limit become no trial."""
        values, limit = trial.hyperparameters.values, self.networks.base.max_params
        check_budget(self.networks.network(values), limit)
        super()._record_values(trial)

    def end_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        failed = trial.status == TrialStatus.FAILED
        if failed and not trial.message:  # a worker's did not travel: its run has it
            trial.message = self._error_of(trial.trial_id)
        ended = len(self.end_order)
        super().end_trial(trial)
        if len(self.end_order) > ended:
            self._failures = self._failures + 1 if failed else 0

    def _error_of(self, trial_id: str) -> str | None:
        path = Path(self._get_trial_dir(trial_id)) / "run" / "run.json"
        return read_json(path).get("error") if path.is_file() else None

    def _check_consecutive_failures(self) -> None:
        """Nothing: keras-tuner's raises before it has saved the trial; `create_trial` stops."""

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Nothing: all dimensions are declared up front."""

    def _compute_values_hash(self, values: dict[str, Any]) -> str:
        return self.networks.identity(values)

    def get_state(self) -> dict[str, Any]:
        """The state; a trial that has ended is not ongoing, though keras-tuner saves it so."""
        state = super().get_state()
        ongoing = state["ongoing_trials"].items()
        state["ongoing_trials"] = {k: v for k, v in ongoing if v not in self.end_order}
        return state

    def save(self) -> None:
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def set_state(self, state: dict[str, Any]) -> None:
        """The state as it was saved; a trial whose folder was deleted counts as failed."""
        for trial_id in state["start_order"]:
            if trial_id not in self.trials:
                gone = keras_tuner.engine.trial.Trial(
                    self.get_space(), trial_id, TrialStatus.FAILED, "its folder was deleted"
                )
                self.trials[trial_id] = gone
                Path(self._get_trial_dir(trial_id)).mkdir(exist_ok=True)
                self._save_trial(gone)
                others = [other for other in state["end_order"] if other != trial_id]
                retried = [other for other in state["retry_queue"] if other != trial_id]
                ongoing = {k: v for k, v in state["ongoing_trials"].items() if v != trial_id}
                state |= {"end_order": [*others, trial_id], "retry_queue": retried}
                state |= {"ongoing_trials": ongoing}
        super().set_state(state)

    def reload(self) -> None:
        super().reload()
        # A kill between the two files of a new trial leaves one that the oracle never gave out.
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}


class HyperbandOracle(BudgetedOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (Li et al., arXiv 1603.06560) whose brackets stay full when trials fail.

    A rung promotes its best as soon as no trial still running could displace it. A failed trial
    leaves its place: a new draw takes it in the first rung, the next best in a later one.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._brackets = [bracket for bracket in self._brackets if not self._is_over(bracket)]
        for bracket in self._brackets:
            if not bracket.get("used_up") and self._vacancies(bracket, 0):
                if response := self._drawn(trial_id, bracket):
                    return response
                bracket["used_up"] = True  # nothing new in the space: the rung goes on with less
            for rung in range(1, len(bracket["rounds"])):
                if response := self._promoted(trial_id, bracket, rung):
                    return response
        last = self._current_iteration + 1 == self.hyperband_iterations
        if not (last and self._current_bracket == 0):
            self._increment_bracket_num()
            self._start_new_bracket()
            return self.populate_space(trial_id)
        over = all(self._is_over(bracket) for bracket in self._brackets)
        return {"status": TrialStatus.STOPPED if over else TrialStatus.IDLE}

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        self._brackets[-1]["iteration"] = self._current_iteration

    def _drawn(self, trial_id: str, bracket: dict[str, Any]) -> dict[str, Any] | None:
        """A new choice for the first rung, or None where the space holds no other."""
        values = self._random_values()
        if values is None:
            return None
        bracket["rounds"][0].append({"past_id": None, "id": trial_id})
        return {
            "status": TrialStatus.RUNNING,
            "values": {**values, **self._place(bracket, 0), "tuner/initial_epoch": 0},
        }

    def _promoted(self, trial_id: str, bracket: dict[str, Any], rung: int) -> dict[str, Any] | None:
        """The best of the rung below that can go on, or None where it is not known yet."""
        rounds = bracket["rounds"]
        taken = {info["past_id"] for info in rounds[rung]}
        below = [t for t in self._living(rounds[rung - 1]) if t.trial_id not in taken]
        ready = [trial for trial in below if trial.status == TrialStatus.COMPLETED]
        pending = len(below) - len(ready) + self._to_come(bracket, rung - 1)
        if not ready or pending >= self._vacancies(bracket, rung):
            return None
        best = max(ready, key=lambda trial: trial.score)
        rounds[rung].append({"past_id": best.trial_id, "id": trial_id})
        values = {
            **best.hyperparameters.values,
            **self._place(bracket, rung),
            "tuner/initial_epoch": best.hyperparameters.values["tuner/epochs"],
            "tuner/trial_id": best.trial_id,
        }
        return {"status": TrialStatus.RUNNING, "values": values}

    def _place(self, bracket: dict[str, Any], rung: int) -> dict[str, int]:
        number = bracket["bracket_num"]
        return {
            "tuner/epochs": self._get_epochs(number, rung),
            "tuner/bracket": number,
            "tuner/round": rung,
            "tuner/iteration": bracket["iteration"],
        }

    def _living(self, infos: list[dict[str, str]]) -> list[keras_tuner.engine.trial.Trial]:
        trials = [self.trials[info["id"]] for info in infos]
        return [trial for trial in trials if trial.status != TrialStatus.FAILED]

    def _vacancies(self, bracket: dict[str, Any], rung: int) -> int:
        size = self._get_size(bracket["bracket_num"], rung)
        return size - len(self._living(bracket["rounds"][rung]))

    def _to_come(self, bracket: dict[str, Any], rung: int) -> int:
        """Trials that a rung can still get beside those it has."""
        if rung == 0:
            return 0 if bracket.get("used_up") else self._vacancies(bracket, 0)
        rounds = bracket["rounds"]
        taken = {info["past_id"] for info in rounds[rung]}
        below = sum(trial.trial_id not in taken for trial in self._living(rounds[rung - 1]))
        return min(self._vacancies(bracket, rung), below + self._to_come(bracket, rung - 1))

    def _is_over(self, bracket: dict[str, Any]) -> bool:
        """Whether every rung is full, or as full as it can get, and nothing runs."""
        rounds = bracket["rounds"]
        done = all(t.status == TrialStatus.COMPLETED for r in rounds for t in self._living(r))
        return done and not any(self._to_come(bracket, rung) for rung in range(len(rounds)))


class _WithMaxTrials(BudgetedOracle):
    """Oracles that give out a number of trials, each trained to the end; failed ones are extra."""

    epochs = 1

    @property
    def max_trials(self) -> int | None:
        failed = sum(trial.status == TrialStatus.FAILED for trial in self.trials.values())
        return self._max_trials + failed

    @max_trials.setter
    def max_trials(self, number: int) -> None:
        self._max_trials = number

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.RUNNING:
            if response["values"] is None:
                return {"status": TrialStatus.STOPPED}
            response["values"]["tuner/epochs"] = self.epochs
        return response


class RandomOracle(_WithMaxTrials, keras_tuner.oracles.RandomSearchOracle):
    """Random search inside the budget."""


class BayesianOracle(_WithMaxTrials, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization; what it suggests outside the budget, or twice, is drawn instead."""

    def _vector_to_values(self, vector: Any) -> dict[str, Any] | None:
        values = self.networks.canonical(super()._vector_to_values(vector))
        new = self.networks.fits(values) and not self._duplicate(values)
        return values if new and self._is_quick(values) else self._random_values()


def build_oracle(settings: Settings, space: Space) -> BudgetedOracle:
    """The oracle that `settings.tuner` names."""
    if settings.tuner == "hyperband":
        return HyperbandOracle(
            space,
            seed=settings.seed,
            max_epochs=settings.max_epochs,
            factor=settings.factor,
            hyperband_iterations=settings.iterations,
        )
    if settings.tuner == "random":
        oracle = RandomOracle(space, seed=settings.seed, max_trials=settings.max_trials)
    else:
        oracle = BayesianOracle(
            space,
            seed=settings.seed,
            max_trials=settings.max_trials,
            num_initial_points=max(4, settings.max_trials // 3),
        )
    oracle.epochs = settings.max_epochs
    return oracle
