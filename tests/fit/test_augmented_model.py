"""Augmentation inside the training step: same policy, same seeds, nothing of it kept."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasresnet.data.arrays import ArrayBatches
from kerasresnet.fit.augmented_model import AugmentedModel

TRAIN = """
import importlib.util
import sys
from pathlib import Path
import numpy as np
from kerasresnet.data import ImageData
from kerasresnet.fit.plan import facts_of
from kerasresnet.fit.training import train_run
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
share, losses = float(sys.argv[2]), {}
rng = np.random.default_rng(0)
labels = np.arange(160, dtype="int32") % 4
images = rng.integers(0, 64, (160, 8, 8, 3), dtype=np.uint8) + (48 * labels).astype("uint8")[:, None, None, None]
data = ImageData("made", images, labels, images, labels, tuple("abcd"), "made here")
recipe = Recipe(spec="BB1x4-classes4-in8x8x3", epochs=6, batch_size=16, learning_rate=0.05, lookahead=5,
                augment=["crop(pad=1)", "flip(alternating=true)", "randaugment(n=1)", "mixup"],
                augment_on="device", epoch_share=share, resolution="6:0.4, 8:0.6" if share < 1 else None)
facts = facts_of(recipe, 0, data.class_names) | {"data": "made", "source": data.source}
run = Run.create(Path(sys.argv[1]), recipe, facts)
results = train_run(run, recipe, data)
assert results["test"]["accuracy"] > 0.5, results["test"]
# Where TensorFlow is installed too, Keras itself may import it.
assert importlib.util.find_spec("tensorflow") or "tensorflow" not in sys.modules
# Cut after any epoch, it sees the same images in the same order.
if share < 1:
    from kerasresnet.fit.epochs import train_epochs
    train = data.x_train, data.y_train
    for name, ends in ("whole", [4]), ("cut", [1, 3, 4]):
        run = Run.create(Path(sys.argv[1] + name), recipe, facts)
        for until in ends:
            train_epochs(run, recipe, train, train, seed=0, until=until, verbose=False)
        losses[name] = [row["loss"] for row in run.metrics]
    np.testing.assert_allclose(losses["cut"], losses["whole"], rtol=1e-4)
"""  # noqa: E501


def recording(seen):
    def augment(images, labels, seed):
        seen.append(seed)
        return images, labels

    return augment


def test_every_step_has_a_seed_of_its_own_and_a_restored_optimizer_goes_on():
    seen = []
    inputs = keras.Input((2, 2, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    images, labels = np.zeros((8, 2, 2, 3), "uint8"), np.eye(2, dtype="float32")[np.arange(8) % 2]

    def train(steps_before):
        model = AugmentedModel(network, recording(seen), seed=7)
        model.compile("sgd", "mse", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(steps_before)
        model.fit(images, labels, batch_size=4, shuffle=False, verbose=0)
        return [tuple(np.array(seed).tolist()) for seed in seen]

    assert train(0) == [(7, 0), (7, 1)]
    assert train(2)[2:] == [(7, 2), (7, 3)]


def test_devices_that_share_a_batch_draw_each_for_itself(monkeypatch):
    from kerasresnet.fit import augmented_model

    seen = []
    model = AugmentedModel(keras.Sequential(), recording(seen), seed=7)
    for device in range(2):
        monkeypatch.setattr(augmented_model, "replica", lambda device=device: (device, 2))
        for step in range(3):
            model.augmented(np.zeros((2, 2, 2, 3), "uint8"), np.eye(2), step)
    assert len({tuple(np.array(seed).tolist()) for seed in seen}) == 6


def test_where_batches_carry_places_the_augmentation_is_told_which_images_it_sees_and_when():
    seen = []

    def augment(images, labels, seed, *, indices, epoch):
        seen.append((np.array(indices).tolist(), np.array(epoch).tolist()))
        return images, labels

    inputs = keras.Input((2, 2, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    images = np.zeros((8, 2, 2, 3), "uint8")
    model = AugmentedModel(network, augment, seed=7)
    model.compile("sgd", "mse", run_eagerly=True)
    settings = {"num_classes": 2, "batch_size": 4, "seed": 0, "identified": True}
    for epoch in range(2):
        batches = ArrayBatches(images, np.arange(8) % 2, epoch=epoch, **settings)
        model.fit(batches, shuffle=False, verbose=0)
    assert [epoch for _, epoch in seen] == [[0] * 4, [0] * 4, [1] * 4, [1] * 4]
    first, second = (sorted(a + b) for (a, _), (b, _) in (seen[:2], seen[2:]))
    assert first == second == list(range(8))
    assert seen[0][0] != seen[2][0]  # each epoch has an order of its own


def test_classes_weigh_what_the_augmentation_made():
    """As Keras' own class_weight does, on the targets that come out of it."""

    def next_class(images, labels, seed):
        return images, keras.ops.roll(labels, 1, axis=-1)

    inputs = keras.Input((2, 2, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    images = np.random.default_rng(0).integers(0, 2, (8, 2, 2, 3), dtype="uint8")
    labels = np.eye(2, dtype="float32")[[0, 0, 0, 1, 0, 0, 1, 0]]
    weights = {0: 0.5, 1: 3.0}
    losses = []
    for model, targets, given in (
        (AugmentedModel(network, next_class, 7, weights), labels, None),
        (network, labels[:, ::-1], weights),
    ):
        model.compile(
            keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True)
        )
        fit = {"batch_size": 8, "class_weight": given, "verbose": 0}
        losses.append(model.fit(images, targets, **fit).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_evaluation_and_prediction_are_the_networks_own():
    def never(images, labels, seed):
        raise AssertionError("augmented outside training")

    inputs = keras.Input((2, 2, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    model = AugmentedModel(network, never, seed=0)
    model.compile("sgd", "mse", run_eagerly=True)
    images = np.arange(24, dtype="uint8").reshape(2, 2, 2, 3)
    model.evaluate(images, np.zeros((2, 2)), verbose=0)
    expected = network.predict(images, verbose=0)
    np.testing.assert_array_equal(model.predict(images, verbose=0), expected)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
@pytest.mark.parametrize("share", ["1", "0.75"])
def test_on_jax_it_trains_from_arrays_without_tensorflow(tmp_path, share):
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "run"), share]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
