"""A batch shared by two devices trains as on one. Two virtual processors, in a process apart."""

import json
import subprocess
import sys

import numpy as np
import pytest

import kerasresnet
from kerasresnet.errors import UsageError
from kerasresnet.fit.options import parse_fit_options
from kerasresnet.fit.strategy import check_devices
from kerasresnet.recipe import Recipe

TRAIN = """
import json, sys
from pathlib import Path
import keras
import tensorflow as tf
from kerasresnet.data import load_data
from kerasresnet.fit.epochs import train_epochs
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
recipe = Recipe.named("digits").replace(
    spec="BB1x8-BB1x16", epochs=2, batch_size=64, precision="float32", **settings)
data = load_data("digits")
x, y = data.x_train, data.y_train
train, val = (x[:320], y[:320]), (x[320:400], y[320:400])
class Losses(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        losses.append(logs["loss"])
found = {}
# The last is stopped after an epoch, and goes on from its state.
for name, strategy, ends in (
    ("one", "single", [2]), ("two", "mirrored", [2]), ("cut", "mirrored", [1, 2])
):
    facts = {"name": name, "labels": list(data.class_names)}
    losses, run = [], Run.create(folder / name, recipe, facts)
    for until in ends:
        train_epochs(run, recipe, train, val, seed=0, until=until, callbacks=[Losses()],
                     strategy=strategy)
    weights = keras.saving.load_model(run.model_path).get_weights()
    found[name] = {"losses": losses, "val_loss": [row["val_loss"] for row in run.metrics],
                   "sums": [float(abs(w).sum()) for w in weights]}
print("FOUND" + json.dumps(found))
"""


def trained(tmp_path, **settings):
    command = [sys.executable, "-c", TRAIN, str(tmp_path), json.dumps(settings)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.partition("FOUND")[2])


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "convmuon", "learning_rate": 0.02, "lookahead": 2},
        pytest.param(
            {"optimizer": "sgd", "ema": 0.9, "resolution": "24:0.5, 32:0.5"}, marks=pytest.mark.slow
        ),
        pytest.param({"optimizer": "adamw", "augment": ["cutmix"]}, marks=pytest.mark.slow),
        # Of each image as often as it was seen: nothing that the devices would draw for themselves.
        {
            "optimizer": "adam",
            "augment": ["flip(alternating=true)"],
            "augment_on": "device",
            "epoch_share": 0.75,
            "class_weights": "balanced",
        },
    ],
    ids=lambda settings: settings["optimizer"],
)
def test_the_losses_are_those_of_one_device(tmp_path, settings):
    found = trained(tmp_path, **settings)
    one, two, cut = found["one"], found["two"], found["cut"]
    assert len(one["losses"]) == 2 * int(320 * settings.get("epoch_share", 1) // 64)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-3)
    # On one processor ours keep the unbiased variance of a batch, which 64 pixels and more hide.
    np.testing.assert_allclose(two["val_loss"], one["val_loss"], rtol=0.01)
    for what in ("losses", "val_loss", "sums"):
        np.testing.assert_allclose(cut[what], two[what], rtol=1e-5)


def test_a_strategy_that_there_is_not_is_told_with_what_to_use_instead(capsys):
    assert check_devices("single", Recipe.named("digits")) == []
    for ask in (
        lambda: parse_fit_options(["--data", "digits", "--strategy", "multiworker"]),
        lambda: parse_fit_options(["--strategy=multiworker", "--resume", "run"]),
        lambda: check_devices("multiworker", Recipe.named("digits")),
    ):
        with pytest.raises(UsageError, match=r"docs/support.md .* mirrored .* tuning.search --ray"):
            ask()
    with pytest.raises(UsageError, match="did you mean 'mirrored'"):
        kerasresnet.train("digits", "digits", strategy="miror", verbose=False)


def test_a_machine_without_two_devices_is_told():
    with pytest.raises(UsageError, match=r"TensorFlow sees 1 CPU; leave it out"):
        check_devices("mirrored", Recipe.named("digits"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"batch_size": 33}, "cannot be shared by 2")],
)
def test_batches_that_cannot_be_shared_are_refused(monkeypatch, changes, told):
    import tensorflow as tf

    two = tf.config.list_logical_devices("CPU") * 2
    devices = {"CPU": two, "GPU": []}
    monkeypatch.setattr(tf.config, "list_logical_devices", devices.get)
    with pytest.raises(UsageError, match=told):
        check_devices("mirrored", Recipe.named("digits").replace(augment=("crop",), **changes))
