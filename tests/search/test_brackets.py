"""The plan of a search is the one that keras-tuner then follows."""

import pytest
from made_up_search import MadeUpSearch

from tuning.search.oracle.brackets import Bracket, Rung, plan_brackets, plan_trials

# Where logarithms and powers round either way.
EPOCHS = (*range(1, 101), 125, 128, 216, 243, 256, 512, 625, 729, 1000, 1024)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 10])
def test_brackets_and_rungs_are_keras_tuners(factor):
    from keras_tuner.oracles import HyperbandOracle

    for epochs in EPOCHS:
        oracle = HyperbandOracle("val_accuracy", max_epochs=epochs, factor=factor)
        plan = plan_brackets(epochs, factor)
        numbers = [bracket.number for bracket in plan.brackets]
        assert numbers == list(reversed(range(oracle._get_num_brackets())))
        for bracket in plan.brackets:
            assert len(bracket.rungs) == oracle._get_num_rounds(bracket.number)
            for rung, size in enumerate(bracket.rungs):
                assert size.trials == oracle._get_size(bracket.number, rung)
                assert size.epochs == oracle._get_epochs(bracket.number, rung)


def test_nine_epochs_by_three_is_the_table_of_the_paper():
    plan = plan_brackets(9, 3)
    assert plan.brackets == (
        Bracket(2, 0, (Rung(9, 1), Rung(3, 3), Rung(1, 9))),
        Bracket(1, 0, (Rung(5, 3), Rung(2, 9))),
        Bracket(0, 0, (Rung(3, 9),)),
    )
    assert [bracket.trials for bracket in plan.brackets] == [13, 7, 3]
    # A promoted trial trains the difference only: 9·1 + 3·2 + 1·6, 5·3 + 2·6, 3·9.
    assert [bracket.epochs for bracket in plan.brackets] == [21, 27, 27]


def test_iterations_repeat_all_brackets():
    once, thrice = plan_brackets(9, 3), plan_brackets(9, 3, iterations=3)
    assert (thrice.trials, thrice.epochs) == (3 * once.trials, 3 * once.epochs)
    assert [(b.iteration, b.number) for b in thrice.brackets] == [
        (iteration, number) for iteration in range(3) for number in (2, 1, 0)
    ]


@pytest.mark.parametrize(("epochs", "factor"), [(9, 3), (5, 2), (1, 3)])
def test_a_real_search_runs_as_many_trials_and_epochs_as_planned(epochs, factor, tmp_path):
    search = MadeUpSearch(tmp_path / "s", max_epochs=epochs, factor=factor).finish()
    trained = 0
    for trial in search.oracle.trials.values():
        values = trial.hyperparameters.values
        trained += values["tuner/epochs"] - values["tuner/initial_epoch"]
    plan = plan_brackets(epochs, factor)
    assert (len(search.oracle.trials), trained) == (plan.trials, plan.epochs)


def test_without_hyperband_every_trial_goes_to_the_end():
    plan = plan_trials(20, 9)
    assert (plan.trials, plan.epochs, len(plan.brackets)) == (20, 180, 1)
