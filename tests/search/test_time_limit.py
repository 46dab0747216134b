"""What trains too slowly becomes no trial: brackets stay full, times are measured once and told."""

import collections
import io
import json

import pytest
from keras_tuner.engine.trial import TrialStatus
from made_up_search import MadeUpSearch
from rich.console import Console

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from tuning.engine.job import Died
from tuning.search import timing
from tuning.search.oracle import build_oracle
from tuning.search.oracle.time_limit import SLOW, TimeLimit
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.space.start import first_choice
from tuning.search.timing import EpochTimes, time_step
from tuning.search.view.events import events
from tuning.search.view.leaderboard import write_report
from tuning.search.view.live import draw
from tuning.search.view.trials import SearchReader

LIMIT = 20_000


def seconds_of(recipe):
    """A made-up time: deeper is slower."""
    return 10.0 * sum(stack.blocks for stack in recipe.spec.stacks)


def limited(path, most, seconds=seconds_of, changes=None, **settings):
    base = Recipe.named("digits").replace(max_params=LIMIT)
    settings = Settings(**{"max_epochs": 9, "max_params": LIMIT, **settings})
    oracle = build_oracle(settings, Space(base, narrow(changes or {})), path)
    oracle.time_limit = TimeLimit(seconds, most)
    return oracle


def run(oracle):
    while (trial := oracle.create_trial("tuner0")).status == TrialStatus.RUNNING:
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
    return [oracle.networks.recipe(t.hyperparameters.values) for t in oracle.trials.values()]


@pytest.mark.parametrize("tuner", ["hyperband", "random", "bayesian"])
def test_no_trial_is_slower_and_no_bracket_loses_a_place(tuner, tmp_path):
    few = {"stacks": 3, "growth": 2, "stem": "conv", "optimizer": "sgd", "average": "none"}
    oracle = limited(tmp_path, 60, changes=few, tuner=tuner, max_trials=8)
    recipes = run(oracle)
    assert all(seconds_of(recipe) <= 60 for recipe in recipes)
    assert {trial.status for trial in oracle.trials.values()} == {TrialStatus.COMPLETED}
    assert len(recipes) == (23 if tuner == "hyperband" else 8)
    if tuner == "hyperband":
        places = collections.Counter(
            (t.hyperparameters.values["tuner/bracket"], t.hyperparameters.values["tuner/round"])
            for t in oracle.trials.values()
        )
        assert places == {(2, 0): 9, (2, 1): 3, (2, 2): 1, (1, 0): 5, (1, 1): 2, (0, 0): 3}


def test_a_base_that_is_too_slow_is_not_where_the_search_starts(tmp_path):
    oracle = limited(tmp_path, 20, changes={"stacks": "2,3"})
    assert seconds_of(oracle.networks.recipe(first_choice(oracle.networks))) == 30
    trial = oracle.create_trial("tuner0")
    assert seconds_of(oracle.networks.recipe(trial.hyperparameters.values)) == 20


@pytest.mark.parametrize("tuner", ["hyperband", "random", "bayesian"])
def test_a_limit_that_nothing_meets_is_one_line_and_leaves_nothing(tuner, tmp_path):
    asked = []

    def never(recipe):
        asked.append(recipe)
        return seconds_of(recipe)

    oracle = limited(tmp_path, 5, never, tuner=tuner)
    with pytest.raises(UsageError) as caught:
        oracle.create_trial("tuner0")
    assert "\n" not in str(caught.value)
    assert f"none of {SLOW} networks drawn trains an epoch in 5 s; the quickest, " in str(
        caught.value
    )
    quickest = min(asked, key=seconds_of)
    assert f"takes {seconds_of(quickest):.3g} s: raise --max-epoch-seconds" in str(caught.value)
    assert len(asked) == SLOW
    assert oracle.trials == {} and not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_a_search_whose_quick_networks_are_used_up_ends(tuner, tmp_path):
    left = iter([1.0] * 6)
    oracle = limited(tmp_path, 5, lambda recipe: next(left, 60.0), tuner=tuner, max_trials=9)
    assert len(run(oracle)) == 6


def test_what_cannot_be_timed_is_left_to_its_trial(tmp_path):
    oracle = limited(tmp_path, 5, lambda recipe: None)
    assert oracle.create_trial("tuner0").status == TrialStatus.RUNNING


BASE = Recipe.named("digits").replace(precision="float32", batch_size=64, keep="last")


@pytest.fixture(scope="module")
def train(digits):
    return digits.x_train[:256], digits.y_train[:256]


@pytest.fixture
def project(tmp_path):
    """A search of 256 images, whose networks can be timed."""
    settings = Settings(data="digits", base="digits", train_images=256, val_images=64)
    with Project.alone(tmp_path / "search") as found:
        return found.begin(settings, Space(Recipe.named("digits"), narrow({})))


@pytest.fixture
def measured(monkeypatch):
    """The recipes that were really timed; each step takes 0.25 s."""
    found = []
    monkeypatch.setattr(timing, "time_step", lambda recipe, train: found.append(recipe) or 0.25)
    return found


def call(function, *arguments):
    """What an engine does, in this process."""
    return function(*arguments)


def test_times_are_measured_once_for_spec_batch_and_precision(project, measured):
    times = EpochTimes(project.path, call)
    assert times(BASE) == 4 * 0.25  # 256 images are 4 batches
    assert times(BASE.replace(learning_rate=0.3)) == EpochTimes(project.path, call)(BASE) == 1.0
    assert len(measured) == 1
    assert times(BASE.replace(batch_size=32)) == 8 * 0.25
    assert times(BASE.replace(precision="bfloat16")) == 1.0
    assert times(BASE.replace(spec="BB1x8-BB1x16")) == 1.0
    assert len(measured) == 4
    rows = json.loads((project.path / "epoch_times.json").read_text())
    assert [row["batch_size"] for row in rows] == [64, 32, 64, 64]
    assert "timed_by" not in str(rows)


@pytest.mark.parametrize("content", ['[{"spec": "BB', "", b"\xff\x00", "[1]", "7", '["a"]'])
def test_times_that_cannot_be_read_are_measured_again_and_it_is_told(
    content, project, measured, capsys
):
    EpochTimes(project.path, call)(BASE)
    file = project.path / "epoch_times.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert EpochTimes(project.path, call)(BASE) == 1.0 and len(measured) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "epoch_times.json is damaged (" in told
    assert EpochTimes(project.path, call)(BASE) == 1.0 and len(measured) == 2


class Killed(BaseException):
    """The search was stopped."""


def test_a_network_that_kills_who_times_it_is_timed_no_second_time(project, measured):
    def die(function, *arguments):
        if function is timing.time_trial_step:
            (row,) = json.loads((project.path / "epoch_times.json").read_text())
            assert "timed_by" in row  # what the picture shows meanwhile
            raise Died("its process ended by SIGKILL")
        return function(*arguments)

    assert EpochTimes(project.path, die)(BASE) is None
    assert EpochTimes(project.path, call)(BASE) is None and not measured


def test_a_search_that_was_stopped_while_it_timed_says_nothing(project, measured):
    def stop(function, *arguments):
        if function is timing.time_trial_step:
            raise Killed
        return function(*arguments)

    with pytest.raises(Killed):
        EpochTimes(project.path, stop)(BASE)
    assert EpochTimes(project.path, call)(BASE) == 1.0 and len(measured) == 1


def test_an_error_while_timing_is_noted_and_left_to_the_trial(project):
    def fail(function, *arguments):
        if function is timing.time_trial_step:
            raise KerasResNetError("ValueError: out of memory\nat length")
        return function(*arguments)

    times = EpochTimes(project.path, fail)
    assert times(BASE) is None is times(BASE)
    (row,) = json.loads((project.path / "epoch_times.json").read_text())
    assert row["error"] == "ValueError: out of memory"


@pytest.mark.slow
def test_real_steps_are_timed_whatever_the_recipe(train):
    wild = BASE.replace(
        spec="whiten2-BB1x8m-BB1x16m",
        resolution="24:0.5, 32:0.5",
        optimizer="sgd",
        learning_rate=1e30,
        lookahead=5,
        augment_on="device",
    )
    assert 0 < time_step(wild, train) < 30
    few = (train[0][:64], train[1][:64])
    assert 0 < time_step(BASE.replace(epochs=2), few) < 30  # fewer steps than are asked for


@pytest.fixture
def timed(tmp_path):
    """A search with a limit of time: every trial timed at 0.5 s a step, one network at 20 s."""
    search = MadeUpSearch(tmp_path / "s", max_epoch_seconds=60).finish(trials=4)
    search.train(search.begin(), 0)
    specs = [t.spec for t in SearchReader(search.path).read().trials]
    key = {"batch_size": 32, "precision": "float32", "device": "a machine", "steps": 12}
    rows = [{"spec": spec, **key, "step_seconds": 0.5} for spec in specs]
    rows += [{"spec": "BN4x9-BN4x9", **key, "step_seconds": 20.0}]
    rows += [{"spec": "BB9x1", **key, "timed_by": "x"}, {"spec": "BB8x1", **key, "error": "no"}]
    (search.path / "epoch_times.json").write_text(json.dumps(rows))
    return search


def test_the_picture_and_the_log_tell_the_times(timed):
    console = Console(record=True, width=160, file=io.StringIO())
    (timed.path / "epoch_times.json").rename(timed.path / "later")
    reader = SearchReader(timed.path)
    before = reader.read()
    (timed.path / "later").rename(timed.path / "epoch_times.json")
    now = reader.read()
    console.print(draw(now))
    text = console.export_text()
    assert "6 networks timed, 1 over 60 s an epoch and drawn again; BB9x1 is being timed" in text
    assert "s an epoch" in text
    (row,) = (line for line in text.splitlines() if line.startswith(now.running[0].trial_id))
    assert " 6 " in row
    told = "BN4x9-BN4x9 takes 4 min 00 s an epoch, too long: another is drawn"
    assert list(events(before, now)) == [told]


def test_the_report_tells_the_times(timed):
    write_report(timed.path)
    text = (timed.path / "report" / "leaderboard.md").read_text()
    assert "60 s of training an epoch" in text
    assert "6 networks timed, 1 over 60 s an epoch and drawn again" in text
    head, rule, row = (line.split("|") for line in text[text.index("| rank") :].splitlines()[:3])
    column = [cell.strip() for cell in head].index("s an epoch, timed")
    assert row[column].strip() == "6" and rule[column].strip() == "---:"
    written = json.loads((timed.path / "report" / "leaderboard.json").read_text())
    assert written["too_slow"] == {"BN4x9-BN4x9": 240.0}
    assert {row["timed_epoch_seconds"] for row in written["trials"]} == {6.0}
