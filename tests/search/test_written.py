"""What an oracle and its trials write down is all that a search goes on from."""

import json
import shutil

import pytest
from made_up_search import MadeUpSearch

from kerasresnet.errors import KerasResNetError
from tuning.search.written import check_files


def no_rung(state):
    state["hyperparameters"]["values"]["tuner/round"] = 7


def no_choice(state):
    state["hyperparameters"]["values"]["optimizer"] = ["sgd"]


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
    "no choice": (no_choice, r"optimizer is none of its values: \['sgd'\]"),
    "no values": (lambda state: state["hyperparameters"].update(values={}), "none of its values"),
    "no epochs": (no_epochs, "epochs: field required"),
}


@pytest.mark.parametrize(("change", "told"), WRONG_TRIALS.values(), ids=WRONG_TRIALS)
def test_a_trial_that_no_search_wrote_is_told_before_anything_is_made_of_it(change, told, tmp_path):
    search = MadeUpSearch(tmp_path).finish(trials=2)
    check_files(search.project)
    path = tmp_path / "trial_0000" / "trial.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))
    with pytest.raises(KerasResNetError, match=rf"trial_0000/trial\.json is damaged \(.*{told}"):
        check_files(search.project)


@pytest.mark.parametrize(
    ("name", "value"),
    [("trials", 10**12), ("trials", -1), ("seed_state", "x"), ("ongoing_trials", {"0": "../x"})],
)
def test_an_oracle_that_no_search_wrote_is_told_too(name, value, tmp_path):
    search = MadeUpSearch(tmp_path).finish(trials=2)
    path = tmp_path / "oracle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(KerasResNetError, match=rf"oracle\.json is damaged \(.*{name}"):
        check_files(search.project)


SLOW = pytest.param("bayesian", marks=pytest.mark.slow)


@pytest.mark.parametrize("tuner", ["hyperband", "random", SLOW])
def test_what_a_search_wrote_is_what_it_goes_on_from(tuner, tmp_path):
    search = MadeUpSearch(tmp_path, tuner=tuner, max_trials=5, max_epochs=3)
    search.finish(failing=("1", "0001"))
    check_files(search.project)
    shutil.rmtree(next(tmp_path.glob("trial_*0")))
    search.restart()
    check_files(search.project)
