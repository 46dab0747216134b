"""What `build_model` makes: plain Keras, raw pixels in, float32 logits out, the published maths."""

import json
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from golden import drawn_weights

from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec

PYTORCH = json.loads(
    Path(__file__).parents[1].joinpath("golden", "pytorch_outputs.json").read_text()
)
# A basic, a bottleneck and the two mixed networks; the other rows are slow.
ROWS_IN_EVERY_RUN = ("table1-06", "table1-07", "table1-08", "table1-09")

MIXED = "stem6k5s2-BB2x4-BN1x3k5p3-pool2-classes7-in20x16x3"


@pytest.fixture(scope="module")
def mixed():
    """A small network of both blocks whose every array is far from its initial value."""
    model = build_model(ResNetSpec.from_text(MIXED))
    set_drawn_weights(model)
    return model


@pytest.fixture
def bfloat16_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


def set_drawn_weights(model):
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights(drawn_weights.conv(layer.name, layer.kernel.shape))
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(drawn_weights.batch_norm(layer.name, layer.gamma.shape[0]))
        elif isinstance(layer, keras.layers.Dense):
            layer.set_weights(drawn_weights.dense(layer.name, layer.kernel.shape))


def outputs(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def random_images(count, spec):
    shape = (count, *spec.input_shape)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def row_marks(name):
    often = name in ROWS_IN_EVERY_RUN or not name.startswith("table1")
    return () if often else pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(n, marks=row_marks(n)) for n in PYTORCH])
def test_outputs_equal_those_of_the_published_pytorch_network_given_its_weights(name):
    model = build_model(ResNetSpec.from_text(name))
    set_drawn_weights(model)
    logits = outputs(model, drawn_weights.images(2, model.input_shape[1]))
    np.testing.assert_allclose(logits, PYTORCH[name], rtol=0, atol=1e-4)


def test_the_pytorch_outputs_cover_table_1_and_tell_images_apart():
    assert {f"table1-{row:02}" for row in range(1, 13)} <= set(PYTORCH)
    for first, second in PYTORCH.values():
        assert np.abs(np.subtract(first, second)).max() > 100 * 1e-4


def test_layers_are_named_by_stack_block_and_place(mixed):
    def block(name, convolutions, *, projects):
        names = {f"{name}_add", f"{name}_out"}
        names |= {
            f"{name}_{kind}{i}" for i in range(1, convolutions + 1) for kind in ("conv", "bn")
        }
        names |= {f"{name}_relu{i}" for i in range(1, convolutions)}
        return names | {f"{name}_shortcut_{kind}" for kind in ("conv", "bn") if projects}

    paddings = {"stem_pad", "stack1_block0_pad2", "stack1_block0_shortcut_pad"}
    assert {layer.name for layer in mixed.layers} == (
        {"images", "normalisation", "stem_conv", "stem_bn", "stem_relu", "pool", "flatten", "head"}
        | block("stack0_block0", 2, projects=True)
        | block("stack0_block1", 2, projects=False)
        | block("stack1_block0", 3, projects=True)
        | paddings
    )


def test_batch_norms_have_pytorchs_constants_and_convolutions_no_bias(mixed):
    norms = [x for x in mixed.layers if isinstance(x, keras.layers.BatchNormalization)]
    convolutions = [x for x in mixed.layers if isinstance(x, keras.layers.Conv2D)]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}
    assert {conv.use_bias for conv in convolutions} == {False}
    assert len(norms) == len(convolutions) == 1 + (3 + 2) + 4


def test_gelu_stands_in_blocks_and_stem_where_relu_did_and_computes_the_exact_one():
    text = "whiten2-BB1x4m-BN2x2"
    model = build_model(ResNetSpec.from_text(f"{text}-gelu"))
    assert [x.name for x in model.layers if isinstance(x, keras.layers.ReLU)] == ["stem_relu"]
    plain = build_model(ResNetSpec.from_text(text))
    before = [x.name for x in plain.layers if isinstance(x, keras.layers.ReLU)][1:]
    gelus = [x for x in model.layers if isinstance(x, keras.layers.Activation)]
    assert [x.name for x in gelus] == [name.replace("relu", "gelu") for name in before]
    assert build_model(ResNetSpec.from_text("BB1x4-gelu")).get_layer("stem_gelu")
    values = np.linspace(-4, 4, 33, dtype="float32")
    exact = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in values]
    np.testing.assert_allclose(gelus[0](values), exact, atol=1e-6)


def test_a_model_takes_uint8_images_and_gives_a_logit_for_each_class(mixed):
    assert isinstance(mixed, keras.Model)
    assert mixed.input.dtype == "uint8"
    assert mixed.input_shape == (None, 20, 16, 3)
    assert mixed.output_shape == (None, 7)
    logits = outputs(mixed, random_images(3, ResNetSpec.from_text(MIXED)))
    assert logits.shape == (3, 7)
    assert logits.dtype == np.float32
    assert not np.allclose(logits.sum(axis=1), 1)  # no softmax


def test_logits_and_normalisation_stay_float32_under_mixed_bfloat16(bfloat16_policy, mixed):
    spec = ResNetSpec.from_text(MIXED)
    model = build_model(spec)
    model.set_weights(mixed.get_weights())
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("normalisation").compute_dtype == "float32"
    assert {str(weight.dtype) for weight in model.trainable_variables} == {"float32"}
    images = random_images(4, spec)
    logits = outputs(model, images)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, outputs(mixed, images), atol=0.1)


@pytest.mark.parametrize(
    ("text", "given", "mean", "std"),
    [
        ("BB1x2-in8x8x3", {}, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ("BB1x2-in8x8x1", {}, (0.5,), (0.25,)),
        ("BB1x2-in8x8x2", {"mean": (0.1, 0.2), "std": (0.3, 0.4)}, (0.1, 0.2), (0.3, 0.4)),
    ],
)
def test_normalisation_is_inside_the_model(text, given, mean, std):
    spec = ResNetSpec.from_text(text)
    model = build_model(spec, **given)
    images = random_images(2, spec)
    normalised = keras.Model(model.input, model.get_layer("normalisation").output)
    expected = (images / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(outputs(normalised, images), expected, rtol=1e-5, atol=1e-5)
    assert model.get_layer("stem_conv").input is model.get_layer("normalisation").output


@pytest.mark.parametrize("block", ["BB", "BN"])
@pytest.mark.parametrize("kernels", ["k1", "k5", "k7", "p3", "p5", "k5p3", "k7p5", "k31p31"])
@pytest.mark.parametrize(("size", "half", "sixth"), [(12, 6, 2), (13, 7, 3)])
def test_any_odd_kernel_works_with_any_stride(block, kernels, size, half, sixth):
    # The published network crashes on a conv kernel of 5 and on a projection kernel of 3.
    spec = ResNetSpec.from_text(f"{block}1x2s2{kernels}-{block}1x3s3{kernels}-in{size}x{size}x3")
    model = build_model(spec)
    assert model.get_layer("stack0_block0_out").output.shape[1:3] == (half, half)
    assert model.get_layer("stack1_block0_out").output.shape[1:3] == (sixth, sixth)
    assert np.isfinite(outputs(model, random_images(2, spec))).all()


def test_a_max_pool_stack_goes_down_after_its_first_convolution_and_in_its_shortcut():
    model = build_model(ResNetSpec.from_text("BB1x4m-BN1x2s3m-in13x14x3"))
    for stack, before, after in ((0, (13, 14), (6, 7)), (1, (6, 7), (2, 2))):
        name = f"stack{stack}_block0"
        assert model.get_layer(f"{name}_conv1").output.shape[1:3] == before
        assert model.get_layer(f"{name}_pool1").output.shape[1:3] == after
        assert model.get_layer(f"{name}_shortcut_pool").output.shape[1:3] == after
        assert model.get_layer(f"{name}_conv2").output.shape[1:3] == after
    strides = {x.strides for x in model.layers if isinstance(x, keras.layers.Conv2D)}
    assert strides == {(1, 1)}


def test_a_whitening_stem_is_frozen_and_decorrelates_the_patches_of_its_images(digits):
    from kerasresnet.network.whiten import set_whitening

    spec = ResNetSpec.from_text("whiten2-BB1x4")
    model = build_model(spec)
    set_whitening(model, digits.x_train)
    stem = model.get_layer("stem_conv")
    assert not stem.trainable_variables and stem.kernel.shape == (2, 2, 3, 24)
    layer = keras.Model(model.input, stem.output)
    found = outputs(layer, digits.x_train).reshape(-1, 24).astype("float64")
    np.testing.assert_allclose(found[:, 12:], -found[:, :12], atol=1e-5)
    moments = found[:, :12].T @ found[:, :12] / len(found)
    off_diagonal = moments - np.diag(np.diag(moments))
    assert np.abs(off_diagonal).max() < 1e-3
    # Directions with signal have unit variance; the digits hold fewer than twelve of them.
    assert np.diag(moments)[0] == pytest.approx(1, abs=1e-2)
    assert (np.diag(moments) < 1.01).all()


@pytest.mark.parametrize("images", [np.zeros((0, 8, 8, 3), "uint8"), np.zeros((2, 8, 8), "uint8")])
def test_whitening_without_images_of_its_channels_is_told(images):
    from kerasresnet.errors import UsageError
    from kerasresnet.network.whiten import set_whitening

    with pytest.raises(UsageError, match="whitening needs training images of 3 channels"):
        set_whitening(build_model(ResNetSpec.from_text("whiten2-BB1x4")), images)


def test_any_size_takes_images_of_every_size_with_the_same_weights():
    spec = ResNetSpec.from_text("whiten2-BB1x4m-BN1x2-in16x16x3")
    model, free = build_model(spec), build_model(spec, any_size=True)
    free.set_weights(model.get_weights())
    images = random_images(2, spec)
    np.testing.assert_allclose(outputs(free, images), outputs(model, images), atol=1e-6)
    assert outputs(free, images[:, :12, :12]).shape == (2, 10)


def test_batch_norms_take_another_momentum():
    model = build_model(ResNetSpec.from_text("BB1x4-BN1x2"), norm_momentum=0.6)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {norm.momentum for norm in norms} == {0.6}


TRAINING = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec
model = build_model(ResNetSpec.from_text(sys.argv[1]))
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
images = np.random.default_rng(0).integers(0, 256, (16, *model.input_shape[1:]), dtype="uint8")
model.fit(images, np.eye(10)[np.arange(16) % 10], epochs=3, batch_size=16, verbose=0)
"""


@pytest.mark.parametrize("text", ["BB1x8-BB1x16-in48x48x3", "stem4k1s2-BN1x2s2k1-in96x96x3"])
def test_narrow_projections_of_larger_images_train(text):
    # In a process of its own: TensorFlow's strided 1 x 1 convolution ends it with a signal.
    command = [sys.executable, "-c", TRAINING, text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr[-1_000:])


@pytest.mark.parametrize(("size", "stride"), [(12, 2), (13, 2), (13, 3), (5, 4)])
def test_a_strided_1x1_convolution_is_what_it_was(size, stride):
    from kerasresnet.network.blocks import conv_bn

    inputs = keras.Input((size, size, 3))
    ours = keras.Model(inputs, conv_bn(inputs, 4, 1, name="x", stride=stride, activation=False))
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    strided = keras.ops.conv(images, ours.get_layer("x_conv").kernel, strides=stride)
    found = keras.Model(inputs, ours.get_layer("x_conv").output)
    np.testing.assert_allclose(outputs(found, images), strided, rtol=1e-6, atol=1e-6)


PLAIN_KERAS = """
import sys
sys.modules["kerasresnet"] = None  # importing it fails
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def test_a_saved_model_gives_the_same_outputs_in_keras_alone(mixed, tmp_path):
    images = random_images(8, ResNetSpec.from_text(MIXED))
    files = [str(tmp_path / name) for name in ("model.keras", "images.npy", "logits.npy")]
    mixed.save(files[0])
    np.save(files[1], images)
    subprocess.run([sys.executable, "-c", PLAIN_KERAS, *files], check=True, timeout=300)
    np.testing.assert_allclose(np.load(files[2]), outputs(mixed, images), rtol=0, atol=1e-5)
