"""Folding batch norms changes how a network is computed, not what."""

import keras
import numpy as np
import pytest

from kerasresnet.export.fold import fold_batch_norm
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec


def trained_looking(model, seed=0):
    """`model` with batch norms that are far from doing nothing."""
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    draw.uniform(0.5, 1.5, gamma.shape),
                    draw.normal(0, 0.3, beta.shape),
                    draw.normal(0, 0.3, mean.shape),
                    draw.uniform(0.2, 2.0, variance.shape),
                ]
            )
    return model


def norms(model):
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


@pytest.mark.parametrize(
    "text",
    [
        *("BB2x8-BB1x6", "BN2x4-BN1x6", "stem8k5s2-BN2x6k5p3-BB1x8s1-pool2"),
        *("BB1x8s2k1p3-in28x28x1", "whiten2-BB2x8m-BN1x4m", "BB1x8-BN1x4-gelu"),
    ],
)
def test_logits_are_equal(text, tmp_path):
    model = trained_looking(build_model(ResNetSpec.from_text(text)))
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(1).integers(0, 256, (5, *model.input_shape[1:]), np.uint8)
    expected = model(images, training=False).numpy()
    for source in (model, keras.saving.load_model(tmp_path / "model.keras")):
        folded = fold_batch_norm(source)
        assert norms(source) and not norms(folded)
        np.testing.assert_allclose(folded(images), expected, atol=1e-4)


def test_before_a_max_pool_only_scales_that_keep_the_order_are_folded():
    model = trained_looking(build_model(ResNetSpec.from_text("whiten2-BB1x4m")))
    turned = model.get_layer("stack0_block0_bn1")
    turned.gamma.assign(-turned.gamma)
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
    folded = fold_batch_norm(model)
    assert [layer.name for layer in norms(folded)] == ["stack0_block0_bn1"]
    np.testing.assert_allclose(folded(images), model(images, training=False), atol=1e-4)


def test_a_convolution_that_others_use_too_keeps_its_batch_norm():
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(4, 3, use_bias=False, name="shared")(inputs)
    normed = keras.layers.BatchNormalization(name="kept")(shared)
    alone = keras.layers.Conv2D(4, 1, name="alone")(normed)  # with a bias of its own
    folded = keras.layers.BatchNormalization(name="folded")(alone)
    model = trained_looking(keras.Model(inputs, keras.layers.Add()([shared, folded])))
    found = fold_batch_norm(model)
    assert [layer.name for layer in norms(found)] == ["kept"]
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(found(images), model(images, training=False), atol=1e-5)


def test_bfloat16_is_computed_between_input_and_head():
    model = trained_looking(build_model(ResNetSpec.from_text("BB1x8-BN1x4")))
    folded = fold_batch_norm(model, "bfloat16")
    kinds = {layer.name: layer.compute_dtype for layer in folded.layers}
    assert kinds.pop("normalisation") == kinds.pop("head") == "float32"
    kinds.pop("images")
    assert set(kinds.values()) == {"bfloat16"}
    # Half the bytes in the exported file.
    weights = {w.dtype for layer in folded.layers if "conv" in layer.name for w in layer.weights}
    assert weights == {"bfloat16"}
