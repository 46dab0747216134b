"""The oracles: brackets stay full, only the best go on, and a kill at any write loses nothing."""

import collections
import json
import random
import shutil
from pathlib import Path

import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_parameters
from kerasresnet.recipe import Recipe
from tuning.search.oracle import build_oracle
from tuning.search.oracle import oracle as oracle_module
from tuning.search.oracle.oracle import FAILURES
from tuning.search.project import Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

LIMIT = 300_000
# Eight networks, one recipe: a space that is soon used up.
EIGHT = {
    "stacks": 3,
    "block": "BB",
    "blocks": [1, 2],
    "growth": 2,
    "first_stride": 1,
    "conv_kernel": 3,
    "shortcut_kernel": 1,
    "down": "stride",
    "stem": "conv",
    "stem_kernel": 3,
    "stem_width": 1.0,
    "optimizer": "sgd",
    "sgd.learning_rate": 0.1,
    "sgd.weight_decay": 0.001,
    "sgd.norm_rate": 1,
    "norm_momentum": 0.9,
    "average": "none",
    "resolution": "none",
    "schedule": "cosine",
    "randaugment": 0,
    "label_smoothing": 0,
}
# Few open dimensions: what Bayesian optimization takes for a suggestion grows with them.
FEW = {**EIGHT, "growth": "1.5..2.5", "sgd.learning_rate": "0.05..0.5"}


def make_oracle(path, changes=None, base="quick", **settings):
    """An oracle in `path`, reloaded where it has been there before."""
    base = Recipe.load(base).replace(max_params=LIMIT)
    settings = Settings(**{"max_epochs": 9, "max_params": LIMIT, **settings})
    folder = path / "search"
    folder.mkdir(parents=True, exist_ok=True)
    oracle = build_oracle(settings, Space(base, narrow(changes or {})), folder)
    oracle.reload()
    return oracle


def score_of(trial):
    """A made-up score: better for some choices than for others, and with more epochs."""
    values = trial.hyperparameters.values
    choice = {k: v for k, v in values.items() if not k.startswith("tuner/")}
    return random.Random(repr(sorted(choice.items()))).random() + values["tuner/epochs"] / 100


def run(oracle, *, workers=1, fails=lambda trial: False, seed=0):
    """Ask for trials and end them, in a random order where several run, until none is left."""
    order, running, waited = random.Random(seed), {}, 0
    while True:
        free = [f"tuner{i}" for i in range(workers) if f"tuner{i}" not in running]
        statuses = set()
        for tuner_id in free:
            trial = oracle.create_trial(tuner_id)
            statuses.add(trial.status)
            if trial.status == TrialStatus.RUNNING:
                running[tuner_id] = trial
        if not running:
            if TrialStatus.STOPPED in statuses:
                return
            waited += 1
            assert waited < 3, "nothing runs, and the oracle says wait"
            continue
        trial = running.pop(order.choice(sorted(running)))
        if fails(trial):
            trial.status, trial.message = TrialStatus.FAILED, "boom"
        else:
            oracle.update_trial(trial.trial_id, {"val_accuracy": score_of(trial)})
            trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)


def rungs(oracle, status=TrialStatus.COMPLETED):
    """(iteration, bracket, rung) → epochs → number of trials."""
    found = collections.Counter()
    for trial in oracle.trials.values():
        if trial.status == status:
            values = trial.hyperparameters.values
            place = (values[f"tuner/{name}"] for name in ("iteration", "bracket", "round"))
            found[(*place, values["tuner/epochs"])] += 1
    return dict(found)


# Hyperband's own table for 9 epochs and factor 3: (bracket, rung, epochs) → trials.
FULL = {
    (0, 2, 0, 1): 9,
    (0, 2, 1, 3): 3,
    (0, 2, 2, 9): 1,
    (0, 1, 0, 3): 5,
    (0, 1, 1, 9): 2,
    (0, 0, 0, 9): 3,
}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_bracket_is_full_though_a_third_of_the_trials_fail(tmp_path, workers):
    failing = random.Random(5)
    oracle = make_oracle(tmp_path)
    run(oracle, workers=workers, fails=lambda trial: failing.random() < 0.33)
    assert rungs(oracle) == FULL
    assert sum(rungs(oracle, TrialStatus.FAILED).values()) > 5
    assert sorted(oracle.end_order) == sorted(oracle.trials)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_best_of_a_rung_go_on_from_the_epoch_they_reached(tmp_path, workers):
    oracle = make_oracle(tmp_path, iterations=2)
    run(oracle, workers=workers)
    below = collections.defaultdict(list)
    promoted = collections.defaultdict(list)
    for trial in oracle.trials.values():
        values = trial.hyperparameters.values
        place = (values["tuner/iteration"], values["tuner/bracket"], values["tuner/round"])
        below[place].append(trial)
        if values["tuner/round"]:
            parent = oracle.trials[values["tuner/trial_id"]]
            assert values["tuner/initial_epoch"] == parent.hyperparameters.values["tuner/epochs"]
            choice = {k: v for k, v in values.items() if not k.startswith("tuner/")}
            assert choice.items() <= parent.hyperparameters.values.items()
            promoted[(*place[:2], place[2] - 1)].append(parent)
    for place, parents in promoted.items():
        best = sorted(below[place], key=lambda trial: -trial.score)[: len(parents)]
        assert {t.trial_id for t in parents} == {t.trial_id for t in best}


def test_a_failed_promotion_gives_its_place_to_the_next_best(tmp_path):
    oracle = make_oracle(tmp_path)
    failed = []

    def fails(trial):
        values = trial.hyperparameters.values
        if values["tuner/bracket"] == 2 and values["tuner/round"] == 2 and not failed:
            failed.append(values["tuner/trial_id"])
            return True
        return False

    run(oracle, fails=fails)
    assert rungs(oracle) == FULL
    middle = [t for t in oracle.trials.values() if _place(t) == (2, 1)]
    best, second, _ = sorted(middle, key=lambda trial: -trial.score)
    assert failed == [best.trial_id]
    (last,) = [t for t in oracle.trials.values() if _place(t) == (2, 2) and t.score]
    assert last.hyperparameters.values["tuner/trial_id"] == second.trial_id


def _place(trial):
    values = trial.hyperparameters.values
    return values["tuner/bracket"], values["tuner/round"]


def test_no_network_is_tried_twice_and_none_is_over_the_limit(tmp_path):
    oracle = make_oracle(tmp_path, iterations=3)
    run(oracle)
    drawn = [t for t in oracle.trials.values() if not t.hyperparameters.values["tuner/round"]]
    identities = {oracle.networks.identity(t.hyperparameters.values) for t in drawn}
    assert len(identities) == len(drawn) == 3 * 17
    for trial in oracle.trials.values():
        count = count_parameters(oracle.networks.network(trial.hyperparameters.values))
        assert 0.95 * LIMIT <= count <= LIMIT


@pytest.mark.parametrize("tuner", ["hyperband", "random"])
def test_a_space_that_is_used_up_ends_the_search(tmp_path, tuner):
    oracle = make_oracle(tmp_path, EIGHT, tuner=tuner)
    run(oracle)
    identities = {
        oracle.networks.identity(t.hyperparameters.values) for t in oracle.trials.values()
    }
    assert len(identities) == 8
    if tuner == "hyperband":
        assert rungs(oracle) == {(0, 2, 0, 1): 8, (0, 2, 1, 3): 3, (0, 2, 2, 9): 1}


def test_the_gate_lets_nothing_over_the_limit_pass(tmp_path, monkeypatch):
    oracle = make_oracle(tmp_path, tuner="random")
    wide = oracle.networks.sample(random.Random(0))
    monkeypatch.setattr(type(oracle.networks), "network", lambda *_: Recipe.named("quick").spec)
    monkeypatch.setattr(oracle, "_draw", lambda: wide)
    with pytest.raises(UsageError, match="over the limit of 300,000"):
        oracle.create_trial("tuner0")
    assert oracle.trials == {} and oracle.ongoing_trials == {}


@pytest.mark.parametrize("tuner", ["random", pytest.param("bayesian", marks=pytest.mark.slow)])
def test_random_and_bayesian_train_as_many_as_asked_beside_failed_ones(tmp_path, tuner):
    oracle = make_oracle(tmp_path, FEW, tuner=tuner, max_trials=6)
    run(oracle, fails=lambda trial: trial.trial_id in ("1", "4"))
    statuses = collections.Counter(trial.status for trial in oracle.trials.values())
    assert statuses == {TrialStatus.COMPLETED: 6, TrialStatus.FAILED: 2}
    epochs = {t.hyperparameters.values["tuner/epochs"] for t in oracle.trials.values()}
    assert epochs == {9}


def test_a_search_in_which_everything_fails_stops(tmp_path):
    oracle = make_oracle(tmp_path)
    run(oracle, fails=lambda trial: True)
    assert len(oracle.trials) == FAILURES
    run(again := make_oracle(tmp_path))  # the mistake was mended: the same search goes on
    assert rungs(again) == FULL


def test_the_choices_follow_from_the_seed(tmp_path):
    def first(path, seed):
        oracle = make_oracle(path, seed=seed)
        trials = [oracle.create_trial(f"tuner{i}") for i in range(2)]
        return [trial.hyperparameters.values for trial in trials]

    assert first(tmp_path / "a", 0) == first(tmp_path / "b", 0)
    (base, drawn), (same, another) = first(tmp_path / "c", 0), first(tmp_path / "d", 1)
    assert base == same and drawn != another


class Killed(BaseException):
    """Raised in place of a write: the process is gone, and nothing of it runs on."""


def test_a_kill_before_any_write_loses_no_trial_and_counts_none_twice(tmp_path, monkeypatch):
    """Every write of a whole search is the last one of its process, once."""
    write, left = oracle_module.write_json, [0]

    def write_or_die(path, value):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        write(path, value)

    monkeypatch.setattr(oracle_module, "write_json", write_or_die)
    oracle, kills = None, 0
    for writes in range(1, 400):  # each process lives a little longer than the one before
        left[0] = writes % 7 + 1
        try:
            oracle = make_oracle(tmp_path)
            run(oracle)
            break
        except Killed:
            kills += 1
            for path in tmp_path.glob("search/**/*.json"):
                json.loads(path.read_text())
    assert kills > 20
    assert rungs(oracle) == FULL
    assert sorted(oracle.end_order) == sorted(set(oracle.end_order)) == sorted(oracle.trials)
    left[0] = 1
    reloaded = make_oracle(tmp_path)
    assert {t.trial_id: t.score for t in reloaded.trials.values()} == {
        t.trial_id: t.score for t in oracle.trials.values()
    }
    assert reloaded.create_trial("tuner0").status == TrialStatus.STOPPED


def test_a_trial_whose_folder_was_deleted_counts_as_failed(tmp_path):
    oracle, left = make_oracle(tmp_path), iter(range(6))

    def stop_after_six(trial):
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(oracle, fails=stop_after_six)
    for trial_id in (oracle.end_order[1], oracle.start_order[-1]):  # one done, one running
        shutil.rmtree(tmp_path / "search" / f"trial_{trial_id}")
    again = make_oracle(tmp_path)
    assert [t.status for t in again.trials.values()].count(TrialStatus.FAILED) == 2
    run(again)
    assert rungs(again) == FULL
    assert sorted(again.end_order) == sorted(again.trials)


def test_a_trial_that_ended_twice_counts_once(tmp_path):
    oracle = make_oracle(tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
    late = Trial.from_state(trial.get_state())
    for ended, status in ((trial, TrialStatus.COMPLETED), (late, TrialStatus.FAILED)):
        ended.status = status
        oracle.end_trial(ended)
    assert oracle.end_order == [trial.trial_id]
    assert trial.status == TrialStatus.COMPLETED and oracle.failed == 0


def test_a_score_that_is_no_number_fails_its_trial(tmp_path):
    oracle = make_oracle(tmp_path)
    trial = oracle.create_trial("tuner0")
    oracle.update_trial(trial.trial_id, {"val_accuracy": float("nan")})
    trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)
    assert trial.status == TrialStatus.FAILED and trial.message == "its score is no number"


def test_what_ran_when_the_search_was_killed_is_given_out_first_and_in_order(tmp_path):
    oracle = make_oracle(tmp_path)
    running = [oracle.create_trial(f"tuner{i}") for i in range(3)]
    done = running.pop(1)
    oracle.update_trial(done.trial_id, {"val_accuracy": 0.5})
    done.status = TrialStatus.COMPLETED
    oracle.end_trial(done)
    again = make_oracle(tmp_path)
    assert json.loads((tmp_path / "search" / "oracle.json").read_text())["ongoing_trials"] == {}
    given = [again.create_trial(f"tuner{i}") for i in range(3)]
    assert [trial.trial_id for trial in given] == ["0000", "0002", "0003"]
    for old, new in zip(running, given, strict=False):
        assert old.hyperparameters.values == new.hyperparameters.values


GOLDEN_BASE = Path(__file__).parents[1] / "golden" / "first_trials.toml"
GOLDEN = json.loads(GOLDEN_BASE.with_suffix(".json").read_text())
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("tuner", "stops"),
    [
        *[("hyperband", ()), ("hyperband", (1, 7, 15)), ("random", ()), ("random", (3, 11))],
        pytest.param("bayesian", (), marks=SLOW),
    ],
)
def test_a_seed_gives_the_trials_that_it_always_gave(tuner, stops, tmp_path):
    """The first 20 as they were when keras-tuner's own brackets and state were used; a search that
    is stopped on the way and goes on gives the same."""
    # The rates that were searched then.
    changes = FEW if tuner == "bayesian" else {"convmuon.norm_rate": "4,8,16"}
    settings = {"base": GOLDEN_BASE, "tuner": tuner, "max_trials": 20}
    oracle, found = make_oracle(tmp_path, changes, **settings), []
    while len(found) < 20:
        trial = oracle.create_trial("tuner0")
        if len(found) in stops:
            stops = [number for number in stops if number != len(found)]
            oracle = make_oracle(tmp_path, changes, **settings)
            trial = oracle.create_trial("tuner0")
        found.append({"id": trial.trial_id, **trial.hyperparameters.values})
        oracle.update_trial(trial.trial_id, {"val_accuracy": score_of(trial)})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
    assert found == GOLDEN[tuner]


def told(oracle):
    trials = oracle.trials.items()
    return {k: (trial.status, trial.score, trial.hyperparameters.values) for k, trial in trials}


def test_a_search_of_an_earlier_version_goes_on(tmp_path):
    """oracle.json then held keras-tuner's whole state, trial.json the whole space."""
    oracle = make_oracle(tmp_path)
    run(oracle)
    before = told(oracle)
    folder = tmp_path / "search"
    for trial in list(oracle.trials.values())[12:]:
        shutil.rmtree(folder / f"trial_{trial.trial_id}")
    states = {t.trial_id: Trial.get_state(t) for t in list(oracle.trials.values())[:12]}
    states["0011"] |= {"status": "RUNNING", "score": None}
    for trial_id, state in states.items():
        (folder / f"trial_{trial_id}" / "trial.json").write_text(json.dumps(state))
    old = {"ongoing_trials": {"tuner0": "0011"}, "start_order": sorted(states), "seed_state": 9}
    old |= {"end_order": sorted(states)[:-1], "retry_queue": [], "tried_so_far": [], "seed": 1}
    (folder / "oracle.json").write_text(json.dumps(old))
    again = make_oracle(tmp_path)
    assert again.interrupted == ["0011"]
    run(again)
    assert told(again) == before


def test_what_is_saved_with_a_trial_does_not_grow_with_their_number(tmp_path):
    def size(iterations):
        oracle = make_oracle(tmp_path / str(iterations), tuner="random", max_trials=iterations)
        run(oracle)
        return (tmp_path / str(iterations) / "search" / "oracle.json").stat().st_size

    assert size(40) < size(10) + 10
