"""What docs/python.md and the README show runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The names that the blocks of the page leave behind, run one after another."""
    names, runs = {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("session"))
        for block in blocks("docs/python.md"):
            exec(block, names)
            if names["run"] not in runs:
                runs.append(names["run"])
        yield names | {"runs": runs}


def test_a_run_is_trained_measured_and_exported(session):
    first, _ = session["runs"]
    assert first.results["status"] == "finished" and len(first.metrics) == 3
    assert first.recipe.name == "digits-custom" and first.facts["data"] == "digits"
    assert Path("saved_models", "digits-custom", "1", "saved_model.pb").is_file()
    assert first.evaluate()["accuracy"] == pytest.approx(first.results["test"]["accuracy"])


def test_arrays_are_trained_on_until_a_callback_ends_it(session):
    _, second = session["runs"]
    assert second.results["status"] == "finished" and 1 < len(second.metrics) < 20
    assert second.recipe.name == "digits-stem8s2-BB1x16-my-digits"
    with pytest.raises(ValueError, match="my-digits were given from Python"):
        second.evaluate()
    # Normalised by the images themselves, which are darker than CIFAR-10.
    mean = second.load_model().get_layer("normalisation").mean
    assert np.abs(np.ravel(mean) - session["mine"].x_train.mean((0, 1, 2))).max() < 5


def test_a_network_is_trained_by_keras_own_fit(session):
    model, recipe, steps = session["model"], session["recipe"], len(session["dataset"])
    assert int(model.optimizer.iterations) == recipe.epochs * steps
    # The last rate of the recipe's schedule, set by the callback.
    rates = session["recipe_optimizer"](recipe, steps)
    rates.iterations.assign(recipe.epochs * steps - 1)
    assert float(model.optimizer.learning_rate) == pytest.approx(float(rates.learning_rate))


def test_the_readme_shows_a_part_of_the_page():
    shown = {line for block in blocks("docs/python.md") for line in block.splitlines()}
    (block,) = (text for text in blocks("README.md") if "kerasresnet.train" in text)
    assert set(block.splitlines()) - {""} <= shown
