"""What is read of a search is what its oracle and its runs wrote, however much of it is there."""

import dataclasses
import subprocess
import sys

import pytest
from made_up_search import SECONDS, MadeUpSearch

from tuning.search.oracle.brackets import plan_brackets
from tuning.search.view.trials import SearchReader, best_trial, read_trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("searches") / "finished"
    return MadeUpSearch(path).finish(failing={"0002", "0014"})


def test_trials_are_those_of_the_oracle(finished):
    found = {trial.trial_id: trial for trial in read_trials(finished.path)}
    assert list(found) == sorted(finished.oracle.trials)
    for trial_id, theirs in finished.oracle.trials.items():
        ours, values = found[trial_id], theirs.hyperparameters.values
        assert (ours.status, ours.score) == (theirs.status, theirs.score)
        assert ours.values == {k: v for k, v in values.items() if not k.startswith("tuner/")}
        assert (ours.bracket, ours.rung) == (values["tuner/bracket"], values["tuner/round"])
        assert ours.epochs == values["tuner/epochs"]
        assert ours.initial_epoch == values["tuner/initial_epoch"]
        assert ours.parent == values.get("tuner/trial_id")


def test_networks_and_recipes_are_those_of_the_runs(finished):
    for trial in read_trials(finished.path):
        recipe = finished.space.recipe(trial.values)
        assert trial.recipe == recipe
        assert trial.spec == recipe.spec.to_text()
        assert 0 < trial.parameters <= finished.space.base.max_params


def test_a_promoted_trial_trained_only_what_its_parent_did_not(finished):
    trials = [trial for trial in read_trials(finished.path) if not trial.failed]
    assert any(trial.parent for trial in trials)
    for trial in trials:
        assert trial.epochs_done == trial.epochs
        assert trial.trained == trial.epochs - trial.initial_epoch
        assert trial.seconds == trial.trained * SECONDS
    assert sum(trial.trained for trial in trials) == plan_brackets(9, 3).epochs


def test_a_failed_trial_says_why_in_one_line(finished):
    failed = [trial for trial in read_trials(finished.path) if trial.failed]
    assert [trial.trial_id for trial in failed] == ["0002", "0014"]
    assert {trial.error for trial in failed} == {"KerasResNetError: the loss became nan"}
    assert not any(trial.scored for trial in failed)


def test_the_best_is_of_the_most_epochs_though_an_early_rung_scored_higher(tmp_path):
    falling = MadeUpSearch(tmp_path / "s", score=lambda recipe, epoch: 1 - epoch / 20).finish()
    trials = read_trials(falling.path)
    best = best_trial(trials)
    assert best.epochs == 9
    assert best.score == min(trial.score for trial in trials) == 0.55
    early = [trial for trial in trials if trial.epochs < 9]
    assert best_trial(early).epochs == 3
    assert best_trial([]) is None


def test_no_score_that_is_not_a_number_is_the_best(finished):
    trials = read_trials(finished.path)
    best = best_trial(trials)
    spoilt = [dataclasses.replace(t, score=float("nan")) if t is best else t for t in trials]
    unsound = spoilt[trials.index(best)]
    rival = best_trial(spoilt)
    assert best_trial([unsound, rival]) is best_trial([rival, unsound]) is rival


@pytest.mark.parametrize("content", [None, "", '{"trial_id": "00', "[]"])
@pytest.mark.parametrize(
    "name",
    ["search.json", "oracle.json", "trial_0001/trial.json"]
    + [f"trial_0001/run/{file}" for file in ("run.json", "recipe.toml", "metrics.json")],
)
def test_a_file_that_is_missing_or_half_made_hides_nothing_else(name, content, tmp_path):
    from tuning.search.view.live import draw

    search = MadeUpSearch(tmp_path / "s").finish(trials=4)
    (search.path / name).unlink()
    if content is not None:
        (search.path / name).write_text(content)
    (search.path / "trial_0099").mkdir()
    draw(SearchReader(search.path).read())
    there = {trial.trial_id: trial for trial in read_trials(search.path)}
    assert {"0000", "0002", "0003"} <= there.keys() <= {"0000", "0001", "0002", "0003"}
    assert ("0001" in there) == (not name.endswith("trial.json"))
    assert there["0000"].score is not None


def test_a_trial_that_no_process_runs_waits(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=3)
    trial = search.begin()
    assert read_trials(search.path)[-1].spec is None  # no run yet
    search.train(trial, 0)
    assert read_trials(search.path)[-1].status == "RUNNING"
    search.restart()
    assert read_trials(search.path)[-1].status == "WAITING"
    search.begin()
    assert read_trials(search.path)[-1].status == "RUNNING"


def test_ids_sort_by_number_however_many_digits_they_have(tmp_path):
    search = MadeUpSearch(tmp_path / "s", tuner="random", max_trials=9).finish()
    search.oracle.max_trials = 12
    search.finish()
    ids = [trial.trial_id for trial in read_trials(search.path)]
    assert [int(trial_id) for trial_id in ids] == list(range(12))
    assert len({len(trial_id) for trial_id in ids}) == 2


def test_nothing_is_read_twice_and_no_change_is_missed(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=2)
    reader = SearchReader(search.path)
    first = reader.read()
    assert reader.read() is first
    trial = search.begin()
    second = reader.read()
    assert len(second.trials) == 3
    assert second.trials[:2] == first.trials
    assert second.trials[0] is first.trials[0]
    for epoch in range(1, trial.hyperparameters.values["tuner/epochs"] + 1):
        search.train(trial, 1)
        assert reader.read().trials[2].epochs_done == epoch
    search.end(trial)
    assert reader.read().trials[2].status == "COMPLETED"
    assert reader.read() is reader.read()
    metrics = search.path / "trial_0000" / "run" / "metrics.json"
    search.run_of(search.oracle.trials["0000"]).write_metrics([{"epoch": 1, "seconds": 12.0}])
    size = metrics.stat().st_size
    assert reader.read().trials[0].seconds == 12
    search.run_of(search.oracle.trials["0000"]).write_metrics([{"epoch": 1, "seconds": 34.0}])
    assert metrics.stat().st_size == size
    assert reader.read().trials[0].seconds == 34


def test_what_shows_a_search_loads_no_framework():
    code = (
        "import sys, tuning.search.view.live, tuning.search.view.leaderboard; "
        "print({'keras', 'tensorflow', 'keras_tuner', 'matplotlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
