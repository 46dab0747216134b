"""The network that trains on a processor equals Keras' own: outputs, gradients, statistics."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the fast layers are TensorFlow's", allow_module_level=True)

import tensorflow as tf

from kerasresnet.network import fast
from kerasresnet.network.blocks import BN_MOMENTUM
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec

SPEC = ResNetSpec.from_text("BB1x6-BN1x4p3-in12x12x3")
STEPS = 3


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype("float32")


def batch(images=8):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, *SPEC.input_shape), dtype=np.uint8)
    return pixels, generator.integers(0, SPEC.classes, images)


def layers_of(model, kind):
    return [x for x in model.layers if isinstance(x, kind)]


def norms_of(model):
    return layers_of(model, keras.layers.BatchNormalization)


def train(model, steps=STEPS, images=8):
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return [float(model.train_on_batch(*batch(images))) for _ in range(steps)]


@tf.function
def outputs_and_gradients(layer, inputs, outer):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    watched = [inputs, *(v.value for v in layer.trainable_variables)]
    return outputs, tape.gradient(outputs, watched, outer)


def assert_alike(ours, theirs, inputs):
    """Layers of equal weights have equal outputs and gradients."""
    outer = tf.constant(draw(*theirs(inputs).shape, seed=1))
    expected = outputs_and_gradients(theirs, tf.constant(inputs), outer)
    found = outputs_and_gradients(ours, tf.constant(inputs), outer)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-4 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("channels", [16, 6, 20])
@pytest.mark.parametrize("size", [1, 5])
def test_batch_norm_equals_keras(channels, size):
    settings = {"momentum": 0.7, "epsilon": 1e-3}
    theirs, ours = keras.layers.BatchNormalization(**settings), fast.BatchNormalization(**settings)
    inputs = 3 + 2 * draw(8, size, size, channels)
    for layer in (theirs, ours):
        layer.build(inputs.shape)
        layer.set_weights([draw(channels) + 1, draw(channels), draw(channels), draw(channels) ** 2])
    before = theirs.get_weights()
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=1e-4)
    assert_alike(ours, theirs, inputs)  # each computes in training mode once
    pixels = len(inputs) * size**2
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-5)
    biased = np.array(theirs.moving_variance) - 0.7 * before[3]
    unbiased = np.array(ours.moving_variance) - 0.7 * before[3]
    np.testing.assert_allclose(unbiased, biased * pixels / (pixels - 1), rtol=1e-4, atol=1e-5)


def test_a_frozen_batch_norm_infers_also_in_training():
    layer = fast.BatchNormalization(trainable=False)
    inputs = draw(4, 3, 3, 6)
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(6))


@pytest.mark.parametrize("channels", [(16, 8), (5, 7)])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_the_weight_gradient_by_matrix_products_equals_keras(size, channels):
    settings = {"padding": "same", "use_bias": False}
    ours, theirs = (kind(channels[1], 3, **settings) for kind in (fast.Conv2D, keras.layers.Conv2D))
    assert_convolutions_alike(ours, theirs, (3, *size, channels[0]))


@pytest.mark.parametrize("size", [(18, 18), (17, 17), (9, 10), (3, 4)])
def test_so_it_does_with_a_stride(size):
    settings = {"strides": 2, "use_bias": False}
    ours, theirs = (kind(6, 3, **settings) for kind in (fast.Conv2D, keras.layers.Conv2D))
    assert_convolutions_alike(ours, theirs, (3, *size, 5))


def assert_convolutions_alike(ours, theirs, shape):
    for layer in (theirs, ours):
        layer.build(shape)
        layer.set_weights([draw(*layer.kernel.shape)])
    assert ours.by_matmul(shape)
    assert_alike(ours, theirs, draw(*shape))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((4, 9, 9, 3), {}),
        ((4, None, None, 3), {}),
        ((4, 8, 8, 3), {"kernel_size": 1}),
        ((4, 8, 8, 3), {"kernel_size": 5}),
        ((4, 8, 8, 3), {"use_bias": True}),
        ((4, 8, 8, 4), {"groups": 2}),
        ((4, 8, 8, 3), {"dilation_rate": 2}),
        ((4, 8, 8, 3), {"strides": 2}),
        ((4, 8, 8, 3), {"padding": "valid"}),
    ],
)
def test_other_convolutions_stay_as_they_are(shape, settings):
    settings = {"kernel_size": 3, "padding": "same", "use_bias": False} | settings
    assert not fast.Conv2D(8, **settings).by_matmul(shape)


def test_gelu_equals_keras():
    ours, theirs = (kind("gelu") for kind in (fast.Activation, keras.layers.Activation))
    inputs, outer = tf.constant(4 * draw(8, 5, 5, 6)), tf.constant(draw(8, 5, 5, 6, seed=1))
    found = outputs_and_gradients(ours, inputs, outer)
    expected = outputs_and_gradients(theirs, inputs, outer)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_a_fast_copy_with_gelu_trains_the_same_weights():
    keras.utils.set_random_seed(0)
    plain = build_model(SPEC.replace(activation="gelu"))
    copy = fast.fast_copy(plain)
    assert len(layers_of(copy, fast.Activation)) == len(layers_of(plain, keras.layers.Activation))
    np.testing.assert_allclose(train(copy), train(plain), rtol=1e-4)
    for ours, theirs in zip(copy.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=ours.path)


@pytest.fixture(scope="module")
def twins():
    """Two models trained alike from the same weights, one of them fast; both losses."""
    keras.utils.set_random_seed(0)  # one start in twelve rounds some unit to the other side of 0
    plain = build_model(SPEC)
    copy = fast.fast_copy(plain)
    return plain, copy, train(plain), train(copy)


def test_a_fast_copy_trains_the_same_weights(twins):
    plain, copy, plain_losses, losses = twins
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-4)
    assert [v.path for v in copy.weights] == [v.path for v in plain.weights]
    for ours, theirs in zip(copy.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=ours.path)


def test_its_moving_statistics_are_the_same_with_the_unbiased_variance(twins):
    plain, copy, *_ = twins
    kept = BN_MOMENTUM**STEPS  # what is left of the initial 1
    for ours, theirs in zip(norms_of(copy), norms_of(plain), strict=True):
        np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-4)
        pixels = 8 * np.prod(ours.output.shape[1:3])
        unbiased = (np.array(theirs.moving_variance) - kept) * pixels / (pixels - 1)
        np.testing.assert_allclose(
            np.array(ours.moving_variance) - kept, unbiased, rtol=5e-4, err_msg=ours.name
        )


def test_what_is_kept_of_it_is_keras_own(twins, tmp_path):
    plain, copy, *_ = twins
    kept = build_model(SPEC)
    kept.set_weights(copy.get_weights())
    images, _ = batch()
    np.testing.assert_allclose(kept(images), copy(images), atol=1e-5)
    assert "kerasresnet" not in kept.to_json()
    kept.save(tmp_path / "kept.keras")
    loaded = keras.saving.load_model(tmp_path / "kept.keras")
    assert {type(x) for x in loaded.layers} == {type(x) for x in plain.layers}
    np.testing.assert_allclose(loaded(images), kept(images), atol=1e-6)


@pytest.mark.parametrize("halves", [False, True])
def test_a_state_of_either_kind_restores_the_other(tmp_path, halves):
    plain = build_model(SPEC)
    train(plain, steps=1)
    plain.save_weights(tmp_path / "plain.weights.h5")
    copy = fast.fast_copy(build_model(SPEC), halves=halves)
    train(copy, steps=0)
    copy.optimizer.build(copy.trainable_variables)
    copy.load_weights(tmp_path / "plain.weights.h5")
    copy.save_weights(tmp_path / "copy.weights.h5")
    again = build_model(SPEC)
    train(again, steps=0)
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "copy.weights.h5")
    for loaded in (copy, again):
        state = [*loaded.weights, *loaded.optimizer.variables]
        for ours, theirs in zip(state, [*plain.weights, *plain.optimizer.variables], strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_a_fast_copy_takes_images_of_any_size():
    spec = ResNetSpec.from_text("stem8-BB1x8s2-BB1x20-in16x16x3")
    plain = build_model(spec, any_size=True)
    copy = fast.fast_copy(plain)
    for training in (False, True):  # training moves the statistics, differently
        for size in (16, 12, 9):
            images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
            expected = plain(images, training=training)
            np.testing.assert_allclose(copy(images, training=training), expected, atol=1e-4)


def operations(model, training=True):
    """How often each kind of operation is in the graph of a call of `model`."""
    traced = tf.function(lambda x: model(x, training=training)).get_concrete_function(batch()[0])
    kinds = [operation.type for operation in traced.graph.get_operations()]
    return {kind: kinds.count(kind) for kind in kinds}


def test_every_batch_norm_of_a_copy_is_fused_and_none_of_the_plain_network():
    plain = build_model(SPEC)
    norms = len(norms_of(plain))
    assert "FusedBatchNormV3" not in operations(plain)
    assert operations(fast.fast_copy(plain))["FusedBatchNormV3"] == norms
    assert operations(fast.fast_copy(plain, halves=True))["FusedBatchNormV3"] == 2 * norms


@pytest.mark.parametrize("images", [1, 2, 7, 8])
def test_halves_infer_what_the_whole_batch_does(images):
    network = build_model(SPEC)
    pixels, _ = batch(images)
    expected = network(pixels)
    np.testing.assert_allclose(fast.in_halves(network)(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(
        fast.in_halves(network).predict_on_batch(pixels), expected, atol=1e-5
    )


def test_halves_are_normalised_by_their_own_statistics():
    network = build_model(SPEC)
    pixels, labels = batch()
    copies = [fast.fast_copy(network) for _ in range(2)]
    halved = fast.fast_copy(network, halves=True)
    with tf.GradientTape() as tape:
        found = halved(pixels, training=True)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, found)
    gradients = tape.gradient(loss, [v.value for v in halved.trainable_variables])
    sums = [0.0] * len(gradients)
    for i, copy in enumerate(copies):
        part = slice(4 * i, 4 * i + 4)
        with tf.GradientTape() as tape:
            logits = copy(pixels[part], training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[part], logits)
        np.testing.assert_allclose(found[part], logits, atol=1e-5)
        parts = tape.gradient(loss, [v.value for v in copy.trainable_variables])
        sums = [a + b for a, b in zip(sums, parts, strict=True)]
    for ours, theirs in zip(gradients, sums, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * (1 + np.abs(theirs).max()))


def test_the_moving_statistics_of_halves_keep_as_much_of_their_past():
    network = build_model(SPEC, norm_momentum=0.6)
    halved = fast.fast_copy(network, halves=True)
    pixels, _ = batch(4)
    twice = np.concatenate([pixels, pixels])
    halved(twice, training=True)
    whole = fast.fast_copy(network)
    whole(pixels, training=True)
    for ours, theirs in zip(norms_of(halved), norms_of(whole), strict=True):
        np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-5)
        np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, atol=1e-5)
