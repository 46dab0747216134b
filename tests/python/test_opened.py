"""Runs in Python: what cannot be is told, what was stopped goes on, and nothing is printed."""

import keras
import pytest

import kerasresnet
from kerasresnet.errors import UsageError
from kerasresnet.fit.callbacks import LearningRates
from kerasresnet.fit.compiled import recipe_schedule
from kerasresnet.recipe import Recipe


class Stop(keras.callbacks.Callback):
    """Ctrl-C in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_and_says_nothing(tiny_recipe, digits, tmp_path, capfd):
    asked = {"run_dir": tmp_path / "run", "callbacks": [Stop()], "verbose": False, "seed": 3}
    with pytest.raises(KeyboardInterrupt):
        kerasresnet.train(tiny_recipe, digits, **asked)
    run = kerasresnet.open_run(tmp_path / "run")
    assert run.facts["status"] == "interrupted" and run.facts["seed"] == 3
    assert "1 of 3, interrupted" in run._repr_html_()
    with pytest.raises(UsageError, match="digits were given from Python"):
        run.resume()
    run.resume(digits, verbose=False)
    assert run.results["status"] == "finished" and len(run.metrics) == 3
    assert capfd.readouterr() == ("", "")


def test_a_notebook_shows_what_a_run_reached_and_no_markup_of_others(make_run, finished_run):
    page = kerasresnet.open_run(finished_run.path)._repr_html_()
    assert "3 of 3, finished" in page and 'src="data:image/png;base64,' in page
    run = make_run(finished_run.recipe, "<b>run")
    run.update(data="<script>alert(1)</script>")
    page = kerasresnet.open_run(run.path)._repr_html_()
    assert "&lt;script&gt;" in page and "<script>" not in page and "<b>run" not in page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"recipe": "quik"}, "did you mean 'quick'"),
        ({"epoch": 3}, "'epoch' is no field of Recipe: did you mean 'epochs'"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"data": 3}, "the name of a data set or a path, received 3"),
        ({"data": "digits", "seed": -1}, "a seed is a number from 0"),
        ({"data": "digits", "spec": "BB2x999"}, "over the limit"),
        ({"data": "digits", "run_dir": "."}, "exists already"),
    ],
)
def test_what_cannot_be_trained_is_told(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        kerasresnet.train(**arguments)


def test_what_cannot_be_opened_or_exported_is_told(finished_run, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        kerasresnet.open_run(tmp_path / "nothing")
    run = kerasresnet.open_run(finished_run.path)
    with pytest.raises(UsageError, match="unknown option of an export 'presicion': did you mean"):
        run.export(tmp_path, presicion="bfloat16")
    with pytest.raises(UsageError, match="--freeze is not for --format onnx"):
        run.export(tmp_path, format="onnx", freeze=True)


def test_learning_rates_are_set_only_where_they_are_a_number(tiny_recipe):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    rates = kerasresnet.recipe_optimizer(Recipe.named("quick"), 10)
    model.compile(rates, "mse")
    callback = recipe_schedule(Recipe.named("quick"), 10)
    assert isinstance(callback, LearningRates)
    callback.set_model(model)
    with pytest.raises(UsageError, match="is a schedule already; compile with a number"):
        callback.on_train_batch_begin(0)
    with pytest.raises(UsageError, match="moves the momentum as well"):
        recipe_schedule(tiny_recipe.replace(cycle_momentum=(0.85, 0.95)), 10)
