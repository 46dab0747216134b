"""The loss takes labels as Keras' data sets give them; what is saved with it loads anywhere."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from kerasresnet.optim.loss import LabelCrossentropy

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2, 0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype("float32")])
def test_integer_labels_give_what_one_hot_ones_give(labels, smoothing):
    settings = {"from_logits": True, "label_smoothing": smoothing}
    expected = keras.losses.CategoricalCrossentropy(**settings)(np.eye(4)[LABELS], LOGITS)
    for given in (labels, np.eye(4)[LABELS]):
        assert float(LabelCrossentropy(**settings)(given, LOGITS)) == float(expected)


def test_a_compiled_model_trains_on_integers_and_its_file_loads_without_this_package(tmp_path):
    from kerasresnet.fit.compiled import compile_model
    from kerasresnet.network.build import build_model
    from kerasresnet.recipe import Recipe

    recipe = Recipe(spec="stem4s4-BB1x4", epochs=1, batch_size=8)
    model = build_model(recipe.spec)
    compile_model(model, recipe, 16)
    images = np.random.default_rng(0).uniform(0, 255, (16, 32, 32, 3)).astype("float32")
    history = model.fit(images, np.arange(16) % 10, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all() and 0 <= history["accuracy"][0] <= 1
    model.save(tmp_path / "mine.keras")
    assert type(keras.saving.load_model(tmp_path / "mine.keras").loss) is LabelCrossentropy
    code = (
        "import sys; sys.modules['kerasresnet'] = None\n"
        "import keras; keras.saving.load_model(sys.argv[1], compile=False)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "mine.keras")]
    subprocess.run(command, check=True, timeout=300)
