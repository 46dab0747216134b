"""Trials are runs: a promoted one goes on where it stood, a failed one costs itself alone."""

import gc
import json
import random
import statistics
import time

import numpy as np
import psutil
import pytest

from kerasresnet.disk import locked
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.fit.epochs import train_epochs
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.engine.job import Job, run_job
from tuning.engine.memory import forget_models
from tuning.search import trial as trial_module
from tuning.search.driver import Driver
from tuning.search.images import search_images
from tuning.search.oracle import build_oracle
from tuning.search.oracle.oracle import FAILURES
from tuning.search.project import Project, Settings
from tuning.search.space.choices import AVERAGES, narrow
from tuning.search.space.space import Space
from tuning.search.trial import STARTS, run_of, train_trial, trial_seed

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


@pytest.fixture
def make_project(tmp_path):
    """A function that starts a search of narrow networks on 256 of the digits."""

    def make(epochs=3, factor=3, tuner="hyperband", changes=None):
        base = Recipe.named("digits").replace(
            epochs=epochs, max_params=LIMIT, keep="last", precision="float32", batch_size=64
        )
        asked = {"data": "digits", "train_images": 256, "val_images": 64, "max_trials": 1}
        settings = Settings(
            tuner=tuner, max_epochs=epochs, factor=factor, max_params=LIMIT, **asked
        )
        with Project.alone(tmp_path / "search") as project:
            return project.begin(settings, Space(base, narrow({**SMALL, **(changes or {})})))

    return make


def choice(project, number, /, **place):
    """The folder, id and values of a trial with the choice that the search would begin with."""
    (project.path / f"trial_{number}").mkdir(exist_ok=True)
    values = build_oracle(project.settings, project.space, project.path).populate_space(number)
    return project.path, number, values["values"] | {f"tuner/{k}": v for k, v in place.items()}


def run_in(project, trial_id):
    return Run.open(project.path / f"trial_{trial_id}" / "run")


@pytest.mark.slow
def test_a_promoted_trial_equals_one_trained_in_one_go(make_project, tmp_path):
    project = make_project(epochs=6, factor=2)
    train_trial(*choice(project, "0000", epochs=2, initial_epoch=0), "driver")
    promoted = choice(project, "0007", epochs=6, initial_epoch=2, trial_id="0000")
    score = train_trial(*promoted, "driver")
    found = run_in(project, "0007")
    # The same run from the beginning, without a search around it.
    whole, images = Run.create(tmp_path / "whole", found.recipe, {}), search_images(project)
    train_epochs(whole, found.recipe, images.train, images.val, seed=found.facts["seed"])
    assert len(found.metrics) == len(whole.metrics) == 6
    for ours, theirs in zip(found.metrics, whole.metrics, strict=True):
        assert ours["learning_rate"] == pytest.approx(theirs["learning_rate"], rel=1e-6)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
    assert score == found.metrics[5]["val_accuracy"]
    assert found.metrics[0]["learning_rate"] != found.metrics[5]["learning_rate"]
    # What it was promoted from stays as it was.
    assert len(run_in(project, "0000").metrics) == 2


class InThisProcess:
    """An engine that runs each job when it is asked how it ended."""

    slots = 1

    def __init__(self):
        self.jobs = []

    def submit(self, *job):
        self.jobs.append(job)

    def ended(self, seconds):
        while self.jobs:
            name, function, *arguments = self.jobs.pop()
            yield run_job(Job(name, function, tuple(arguments)))


def test_nan_costs_its_trial_and_the_error_is_kept(make_project):
    blow_up = {"optimizer": "sgd", "sgd.learning_rate": 1e30, "sgd.weight_decay": 0.1}
    project = make_project(epochs=1, tuner="random", changes=blow_up)
    oracle = build_oracle(project.settings, project.space, project.path)
    oracle._failures = FAILURES - 1  # one more in a row ends the search
    Driver(project.path, oracle, InThisProcess()).run()
    (trial,) = oracle.trials.values()
    assert trial.status == "FAILED"
    assert trial.message.startswith("KerasResNetError: the training loss became")
    facts = json.loads((project.path / "trial_0" / "run" / "run.json").read_text())
    assert facts["error"].startswith("the training loss became")
    assert facts["status"] == "failed"
    assert json.loads((project.path / "oracle.json").read_text())["ongoing_trials"] == {}


def test_a_network_over_the_limit_is_refused_by_the_last_guard(make_project, monkeypatch):
    project = make_project()
    trial = choice(project, "0000", epochs=1, initial_epoch=0)
    monkeypatch.setattr(
        Space, "network", lambda self, values: Recipe.named("quick").spec
    )  # whatever the gate let through
    with pytest.raises(UsageError, match="over the limit of 6,000"):
        train_trial(*trial, "driver")


def test_a_trial_whose_process_keeps_dying_fails(make_project, monkeypatch):
    project = make_project()
    trial = choice(project, "0000", epochs=1, initial_epoch=0)

    def die(*_):
        raise KeyboardInterrupt  # what is left of a killed process is what it had written

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "_train", die)
        for driver in ["stopped"] * STARTS + ["this one"] * STARTS:
            with pytest.raises(KeyboardInterrupt):
                train_trial(*trial, driver)
    with pytest.raises(KerasResNetError, match=f"^its process died {STARTS} times in epoch 1$"):
        train_trial(*trial, "this one")
    # Deaths under another driver say nothing.
    assert train_trial(*trial, "another", handed_out=time.time() - 50) > 0
    assert run_in(project, "0000").facts["trial_seconds"] >= 50
    assert not (project.path / "trial_0000" / "starts.json").exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\x00", b'{"epoch": 0, "by": [1]}'])
def test_a_trial_whose_count_of_starts_is_damaged_begins_all_the_same(
    content, make_project, monkeypatch
):
    trial = choice(make_project(), "0000", epochs=1, initial_epoch=0)
    home = trial[0] / "trial_0000"
    (home / "run").mkdir()
    for path in (home / "starts.json", home / "run" / "metrics.json"):
        path.write_bytes(content)
    monkeypatch.setattr(trial_module, "_train", lambda *_: 0.5)
    assert train_trial(*trial, "driver") == 0.5
    assert json.loads((home / "starts.json").read_text()) == {"epoch": 0, "by": {"driver": 1}}


def test_a_trial_without_a_state_begins_again_and_ends_the_same(make_project, capfd):
    project = make_project(epochs=2, factor=2)
    train_trial(*choice(project, "0000", epochs=1, initial_epoch=0), "driver")
    first = {"hyperparameters": {"values": {}}}
    (project.path / "trial_0000" / "trial.json").write_text(json.dumps(first))
    promoted = choice(project, "0007", epochs=2, initial_epoch=1, trial_id="0000")
    score = train_trial(*promoted, "driver")
    run = run_in(project, "0007")
    rows = [row | {"seconds": 0} for row in run.metrics]
    for state in run.states():
        state.weights.unlink()  # a link
        state.weights.write_bytes(b"garbled")
    assert "begins again" not in capfd.readouterr().err
    assert train_trial(*promoted, "driver") == score
    assert "trial 0007 begins again: " in capfd.readouterr().err
    assert [row | {"seconds": 0} for row in run_in(project, "0007").metrics] == rows
    assert len(run_in(project, "0000").metrics) == 1


def test_a_trial_whose_parent_is_lost_begins_as_the_parent_did(make_project):
    project = make_project()
    choice(project, "0000", epochs=1, initial_epoch=0)
    first = {"hyperparameters": {"values": {}}}
    (project.path / "trial_0000" / "trial.json").write_text(json.dumps(first))
    *_, values = choice(project, "0007", epochs=3, initial_epoch=1, trial_id="0000")
    home = project.path / "trial_0007"
    run = run_of(project, home, "0007", values, search_images(project))
    assert run.facts["seed"] == trial_seed(0, "0000") != trial_seed(0, "0007")
    assert run.recipe == project.space.recipe(values) and not run.metrics


def test_no_trial_is_trained_by_two_processes_at_once(make_project, monkeypatch):
    project = make_project()
    trial = choice(project, "0000", epochs=1, initial_epoch=0)
    monkeypatch.setattr(trial_module, "GIVEN_UP", 0.1)
    lock = project.path / "trial_0000" / "trial.lock"
    with locked(lock, "no"), pytest.raises(UsageError, match="another process trains trial 0000"):
        train_trial(*trial, "driver")
    assert not (project.path / "trial_0000" / "starts.json").exists()


def test_seeds_of_trials_are_far_apart_and_those_they_always_were(make_project):
    seeds = sorted(trial_seed(0, f"{number:04}") for number in range(50))
    assert np.diff(seeds).min() > 1_000
    assert trial_seed(0, "0007") == trial_seed(0, "7") != trial_seed(1, "0007")
    project = make_project()
    folder, number, values = choice(project, "0007", epochs=1, initial_epoch=0)
    run = run_of(project, folder / f"trial_{number}", number, values, search_images(project))
    assert run.facts["seed"] == trial_seed(0, "0007")


@pytest.mark.slow
def test_nothing_of_a_finished_trial_stays_in_memory(make_project):
    def held():
        forget_models()
        kinds = [type(thing).__name__ for thing in gc.get_objects()]
        return {kind: kinds.count(kind) for kind in ("FuncGraph", "Functional", "AtomicFunction")}

    trial = choice(make_project(epochs=1), "0000", epochs=1, initial_epoch=0)
    before = held()  # what other tests still use
    train_trial(*trial, "driver")
    after = held()
    assert all(after[kind] <= before[kind] for kind in before), (before, after)


@pytest.mark.slow
def test_a_network_that_a_process_has_met_leaves_next_to_nothing_when_it_comes_again(make_project):
    """Measured between trials: inside one, its own graph and batches come on top."""
    various = {"block": ("BB", "BN"), "stem": ("conv", "whiten2"), "average": AVERAGES}
    project, draw = make_project(epochs=1, changes=various), random.Random(0)
    networks = [project.space.sample(draw) | {"tuner/epochs": 1} for _ in range(4)]
    sizes = []
    for number, values in enumerate(networks * 3):
        (project.path / f"trial_{number:04}").mkdir()
        train_trial(project.path, f"{number:04}", values, "driver")
        forget_models()
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    # MiB a trial. In the first round TensorFlow keeps something of all that is new to it.
    assert statistics.linear_regression(range(8), sizes[4:]).slope < 2
