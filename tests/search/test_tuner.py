"""Trials are runs: a promoted one goes on where it stood, a failed one costs itself alone."""

import gc
import json

import numpy as np
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasresnet.fit.epochs import train_epochs
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.search.engine.memory import forget_models
from tuning.search.engine.supervise import SUPERVISOR
from tuning.search.engine.tuner import STARTS, ResumableTuner
from tuning.search.images import SearchImages
from tuning.search.oracle.oracle import build_oracle
from tuning.search.project import Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

LIMIT = 6_000
SMALL = {
    "stacks": 2,
    "block": "BB",
    "blocks": 1,
    "growth": 2,
    "first_stride": 2,
    "conv_kernel": 3,
    "shortcut_kernel": 1,
    "stem_kernel": 3,
    "stem_width": 1.0,
    "randaugment": 0,
    "schedule": "one_cycle",
}


@pytest.fixture(scope="module")
def images(digits):
    train, val = slice(0, 256), slice(256, 320)
    return SearchImages(
        (digits.x_train[train], digits.y_train[train]),
        (digits.x_train[val], digits.y_train[val]),
        digits.labels,
    )


@pytest.fixture
def make_tuner(tmp_path):
    def make(epochs=3, factor=3, tuner="hyperband", changes=None):
        base = Recipe.named("digits").replace(
            epochs=epochs, max_params=LIMIT, keep="last", precision="float32", batch_size=64
        )
        space = Space(base, narrow({**SMALL, **(changes or {})}))
        settings = Settings(
            tuner=tuner, max_epochs=epochs, factor=factor, max_params=LIMIT, max_trials=1
        )
        return ResumableTuner(build_oracle(settings, space), tmp_path / "search", space, 0)

    return make


def trial_of(tuner, number, /, **place):
    """A trial with the choice that the tuner's oracle would draw first."""
    oracle = tuner.oracle
    oracle._seed_state = oracle.seed
    values = oracle._random_values() | {f"tuner/{k}": v for k, v in place.items()}
    hyperparameters = oracle.get_space()
    hyperparameters.values = values
    trial = Trial(hyperparameters, number, TrialStatus.RUNNING)
    oracle.trials[number] = trial
    return trial


@pytest.mark.slow
def test_a_promoted_trial_equals_one_trained_in_one_go(make_tuner, images, tmp_path):
    tuner = make_tuner(epochs=6, factor=2)
    tuner.run_trial(trial_of(tuner, "0000", epochs=2, initial_epoch=0), images)
    promoted = trial_of(tuner, "0007", epochs=6, initial_epoch=2, trial_id="0000")
    score = tuner.run_trial(promoted, images)
    found = tuner.run_of(promoted, images)
    # The same run from the beginning, without a search around it.
    whole = Run.create(tmp_path / "whole", found.recipe, {})
    train_epochs(whole, found.recipe, images.train, images.val, seed=found.facts["seed"])
    assert len(found.metrics) == len(whole.metrics) == 6
    for ours, theirs in zip(found.metrics, whole.metrics, strict=True):
        assert ours["learning_rate"] == pytest.approx(theirs["learning_rate"], rel=1e-6)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
    assert score == {"val_accuracy": found.metrics[5]["val_accuracy"]}
    assert found.metrics[0]["learning_rate"] != found.metrics[5]["learning_rate"]
    # What it was promoted from stays as it was.
    assert len(Run.open(tmp_path / "search" / "trial_0000" / "run").metrics) == 2


def test_nan_costs_its_trial_and_the_error_is_kept(make_tuner, images, tmp_path):
    blow_up = {"optimizer": "sgd", "sgd.learning_rate": 1e30, "sgd.weight_decay": 0.1}
    tuner = make_tuner(epochs=1, tuner="random", changes=blow_up)
    tuner.oracle._failures = 7  # the eighth failure in a row ends the search
    assert tuner.search(images)
    (trial,) = tuner.oracle.trials.values()
    assert trial.status == TrialStatus.FAILED
    assert "the training loss became" in trial.message
    run = json.loads((tmp_path / "search" / "trial_0" / "run" / "run.json").read_text())
    assert run["error"].startswith("the training loss became")
    assert run["status"] == "failed"


def test_a_network_over_the_limit_is_refused_by_the_last_guard(make_tuner, images, monkeypatch):
    tuner = make_tuner()
    trial = trial_of(tuner, "0000", epochs=1, initial_epoch=0)
    monkeypatch.setattr(
        Space, "network", lambda self, values: Recipe.named("quick").spec
    )  # whatever the gate let through
    tuner._try_run_and_update_trial(trial, images)
    assert trial.status == TrialStatus.FAILED
    assert "Oversized model" in trial.message


def test_a_trial_whose_process_keeps_dying_fails(make_tuner, images):
    tuner = make_tuner()
    trial = trial_of(tuner, "0000", epochs=1, initial_epoch=0)
    run = tuner.run_of(trial, images)
    for _ in range(STARTS):  # each start is noted, and no epoch follows
        tuner._count_start(run)
    tuner._try_run_and_update_trial(trial, images)
    assert trial.status == TrialStatus.FAILED
    assert run.facts["error"] == f"its process died {STARTS} times in epoch 1"


@pytest.mark.slow
def test_stopping_the_whole_search_again_and_again_fails_no_trial(make_tuner, images, monkeypatch):
    tuner = make_tuner()
    trial = trial_of(tuner, "0000", epochs=1, initial_epoch=0)
    run = tuner.run_of(trial, images)
    for command in range(2 * STARTS):
        monkeypatch.setenv(SUPERVISOR, str(command))
        tuner._count_start(run)
    tuner._try_run_and_update_trial(trial, images)
    assert trial.status == TrialStatus.COMPLETED


def test_seeds_of_trials_are_far_apart_and_the_same_everywhere(make_tuner, images):
    tuner, again = make_tuner(), make_tuner()

    def seed(tuner, number):
        trial = trial_of(tuner, f"{number:04}", epochs=1, initial_epoch=0)
        return tuner._facts(trial, tuner.space.recipe(trial.hyperparameters.values), images)["seed"]

    seeds = sorted(seed(tuner, number) for number in range(50))
    assert np.diff(seeds).min() > 1_000
    assert seed(again, 7) == seed(tuner, 7)


@pytest.mark.slow
def test_nothing_of_a_finished_trial_stays_in_memory(make_tuner, images):
    def held():
        forget_models()
        kinds = [type(thing).__name__ for thing in gc.get_objects()]
        return {kind: kinds.count(kind) for kind in ("FuncGraph", "Functional", "AtomicFunction")}

    tuner = make_tuner(epochs=1)
    before = held()  # what other tests still use
    tuner.run_trial(trial_of(tuner, "0000", epochs=1, initial_epoch=0), images)
    after = held()
    assert all(after[kind] <= before[kind] for kind in before), (before, after)
