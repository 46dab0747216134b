"""The default recipe on the real CIFAR-10, one epoch of it."""

import pytest

from kerasresnet.recipe import Recipe
from kerasresnet.run import Run


@pytest.mark.slow
def test_one_epoch_of_quick_learns_most_of_cifar10(tmp_path):
    from kerasresnet.data import load_data
    from kerasresnet.fit.training import train_run

    data = load_data("cifar10")
    recipe = Recipe.named("quick").replace(epochs=1)
    facts = {"name": "quick", "data": "cifar10", "seed": 0, "labels": list(data.class_names)}
    results = train_run(Run.create(tmp_path / "run", recipe, facts), recipe, data)
    assert results["images"] == {"train": 49_000, "val": 1_000, "test": 10_000}
    assert results["test"]["accuracy"] > 0.60
