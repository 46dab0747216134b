"""What an oracle and its trials write down is all that a search goes on from."""

import json
import shutil

import pytest
from made_up_search import MadeUpSearch

from kerasresnet.errors import KerasResNetError
from tuning.search.written import check_trials, mend


def no_rung(state):
    state["hyperparameters"]["values"]["tuner/round"] = 7


def no_choice(state):
    state["hyperparameters"]["values"]["optimizer"] = ["sgd"]


def no_parent(state):
    state["hyperparameters"]["values"] |= {"tuner/trial_id": "0000", "tuner/round": 1}
    state["hyperparameters"]["values"]["tuner/epochs"] = 3


def no_epochs(state):
    del state["hyperparameters"]["values"]["tuner/epochs"]


WRONG_TRIALS = {
    "a path": (lambda state: state.update(trial_id="0000/../../escape"), "trial_id: string should"),
    "no number": (lambda state: state.update(trial_id="x"), "trial_id: string should match"),
    "another's": (lambda state: state.update(trial_id="0001"), "it is of trial 0001"),
    "a path for a parent": (
        lambda state: state["hyperparameters"]["values"].update({"tuner/trial_id": "../../x"}),
        "trial_id: string should match",
    ),
    "no status": (lambda state: state.update(status="DONE"), "status: input should be"),
    "no score": (lambda state: state.update(score=None), "it has ended without a score"),
    "a score in words": (lambda state: state.update(score="high"), "score: input should be"),
    "no rung": (no_rung, "it is of no rung of this search"),
    "its own parent": (no_parent, "it was promoted from no trial before it"),
    "no choice": (no_choice, r"optimizer is none of its values: \['sgd'\]"),
    "no values": (lambda state: state["hyperparameters"].update(values={}), "none of its values"),
    "no epochs": (no_epochs, "epochs: field required"),
}


@pytest.mark.parametrize(("change", "told"), WRONG_TRIALS.values(), ids=WRONG_TRIALS)
def test_a_trial_that_no_search_wrote_is_told_before_anything_is_made_of_it(change, told, tmp_path):
    search = MadeUpSearch(tmp_path).finish(trials=2)
    check_trials(search.project)
    path = tmp_path / "trial_0000" / "trial.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))
    with pytest.raises(KerasResNetError, match=rf"trial_0000/trial\.json is damaged \(.*{told}"):
        check_trials(search.project)


def outcome(search):
    """What came of each trial: its choice, its place, its score."""
    read = [json.loads(path.read_text()) for path in search.path.glob("trial_*/trial.json")]
    kept = ("hyperparameters", "status", "score")
    return {state["trial_id"]: [state[name] for name in kept] for state in read}


def gone_on(search):
    """The same search in the process that finds it as it was left."""
    mend(search.project)
    search.restart()
    return search.finish()


def test_an_oracle_that_no_search_wrote_is_told_and_taken_from_its_trials(tmp_path, capsys):
    project, path = MadeUpSearch(tmp_path).finish(trials=1).project, tmp_path / "oracle.json"
    numbers = ('"trials": 1000000000000', '"trials": -1', '"seed_state": "x"')
    wrong = [f'{{"ongoing_trials": {{}}, {number}}}' for number in numbers]
    for content in ("", "[]", '{"ongoing_trials": {"0": "../x"}}', 10_000 * "[", *wrong):
        path.write_text(content)
        mend(project)
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "oracle.json is damaged (" in told
        assert not path.exists()


@pytest.mark.parametrize("content", [None, '{"ongo'])
@pytest.mark.parametrize("tuner", ["hyperband", "random"])
def test_what_a_lost_oracle_said_is_taken_from_its_trials(tuner, content, tmp_path, capsys):
    asked = {"tuner": tuner, "max_trials": 5, "max_epochs": 3}
    whole = MadeUpSearch(tmp_path / "whole", **asked).finish()
    search = MadeUpSearch(tmp_path / "search", **asked).finish(trials=3)
    search.begin()
    path = search.path / "oracle.json"
    path.unlink() if content is None else path.write_text(content)
    assert outcome(gone_on(search)) == outcome(whole)
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "oracle.json is damaged (" in told
    assert search.read("oracle.json") == whole.read("oracle.json")


RUN_FILES = ("run.json", "recipe.toml", "metrics.json")


def lose(path, way):
    content = path.read_bytes()
    path.unlink()  # a promoted trial's is the same file by a link
    if way == "cut":
        path.write_bytes(content[:40])


@pytest.mark.parametrize("way", ["cut", "removed"])
@pytest.mark.parametrize("name", RUN_FILES)
def test_a_trial_whose_run_is_damaged_is_trained_again_and_nothing_else_changes(
    name, way, tmp_path, capsys
):
    whole = MadeUpSearch(tmp_path / "whole", max_epochs=3).finish()
    search = MadeUpSearch(tmp_path / "search", max_epochs=3).finish()
    parents = [values["tuner/trial_id"] for values in promoted(whole)]
    last = max(outcome(whole))
    for trial_id in (parents[0], last):
        run = search.path / f"trial_{trial_id}" / "run"
        lose(run / name, way)
        mend(search.project)
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and f"trial {trial_id} is trained again" in told
        assert name in told
        search.restart()
        (run / "metrics.json").unlink(missing_ok=True)  # which a training writes again
        assert search.oracle.interrupted == [trial_id]
        assert outcome(search.finish()) == outcome(whole)
    gone_on(search)
    assert not capsys.readouterr().err


def promoted(search):
    choices = [state[0]["values"] for state in outcome(search).values()]
    return [values for values in choices if "tuner/trial_id" in values]


def test_a_score_that_its_run_does_not_have_is_measured_again(tmp_path, capsys):
    whole = MadeUpSearch(tmp_path / "whole", max_epochs=3).finish()
    search = MadeUpSearch(tmp_path / "search", max_epochs=3).finish()
    path = search.path / "trial_0001" / "trial.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"score": state["score"] + 0.1}))
    assert outcome(gone_on(search)) == outcome(whole)
    assert "metrics.json has another score: trial 0001 is trained again" in capsys.readouterr().err


def test_a_trial_without_its_file_is_told_and_one_without_its_folder_is_too(tmp_path, capsys):
    search = MadeUpSearch(tmp_path).finish(trials=3)
    (tmp_path / "trial_0003").mkdir()  # a kill left it
    mend(search.project)
    (tmp_path / "trial_0001" / "trial.json").unlink()
    told = r"trial_0001/trial\.json is damaged .*; delete .*/trial_0001 and it counts as failed, or"
    with pytest.raises(KerasResNetError, match=told):
        mend(search.project)
    assert not capsys.readouterr().err
    shutil.rmtree(tmp_path / "trial_0001")
    mend(search.project)
    assert capsys.readouterr().err.endswith("trials without a folder count as failed: 1\n")
    search.restart()
    assert outcome(search)["0001"][1:] == ["FAILED", None]
    mend(search.project)
    assert not capsys.readouterr().err


SLOW = pytest.param("bayesian", marks=pytest.mark.slow)


@pytest.mark.parametrize("tuner", ["hyperband", "random", SLOW])
def test_what_a_search_wrote_is_what_it_goes_on_from(tuner, tmp_path):
    search = MadeUpSearch(tmp_path, tuner=tuner, max_trials=5, max_epochs=3)
    search.finish(failing=("1", "0001"))
    mend(search.project)
    shutil.rmtree(next(tmp_path.glob("trial_*0")))
    search.restart()
    mend(search.project)
