"""The training settings change the speed, not the results, and leave nothing behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from joblib import cpu_count

from kerasresnet import machine
from kerasresnet.network.blocks import BN_MOMENTUM
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec

SPEC = ResNetSpec.from_text("BB1x6-BN1x4p3-in12x12x3")
STEPS = 3
REWRITE = "auto_mixed_precision_onednn_bfloat16"

on_the_cpu = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" or machine.has_gpu(),
    reason="the fused kernel is used with TensorFlow on a CPU only",
)


def batch(images=8):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, *SPEC.input_shape), dtype=np.uint8)
    return pixels, generator.integers(0, SPEC.classes, images)


def norms_of(model):
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def train(model):
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return [float(model.train_on_batch(*batch())) for _ in range(STEPS)]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two models trained alike from the same weights, one of them fused; both losses; its file."""
    keras.utils.set_random_seed(0)  # one start in twelve rounds some unit to the other side of 0
    plain, fused = build_model(SPEC), build_model(SPEC)
    fused.set_weights(plain.get_weights())
    path = tmp_path_factory.mktemp("fused") / "inside.keras"
    plain_losses = train(plain)
    with machine.fused_batch_norm(fused):
        fused_losses = train(fused)
        fused.save(path)
    return plain, fused, plain_losses, fused_losses, path


@on_the_cpu
def test_fused_batch_norm_trains_the_same_weights(twins):
    plain, fused, plain_losses, fused_losses, _ = twins
    np.testing.assert_allclose(fused_losses, plain_losses, rtol=1e-4)
    for ours, theirs in zip(fused.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=ours.path)
    for ours, theirs in zip(norms_of(fused), norms_of(plain), strict=True):
        np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, atol=1e-4)


@on_the_cpu
def test_fused_batch_norm_averages_the_unbiased_variance(twins):
    plain, fused, *_ = twins
    kept = BN_MOMENTUM**STEPS  # what is left of the initial 1
    for ours, theirs in zip(norms_of(fused), norms_of(plain), strict=True):
        pixels = 8 * np.prod(ours.output.shape[1:3])
        unbiased = (np.array(theirs.moving_variance) - kept) * pixels / (pixels - 1)
        np.testing.assert_allclose(
            np.array(ours.moving_variance) - kept, unbiased, rtol=5e-4, err_msg=ours.name
        )


@on_the_cpu
def test_fused_batch_norm_infers_the_same_outputs(twins):
    plain, _, *_ = twins
    images, _ = batch()
    expected = np.array(plain(images, training=False))
    with machine.fused_batch_norm(plain):
        np.testing.assert_allclose(plain(images, training=False), expected, atol=1e-5)


@on_the_cpu
def test_what_is_saved_while_fused_is_plain_keras(twins):
    _, fused, *_, path = twins
    assert "kerasresnet" not in fused.to_json()
    loaded = keras.saving.load_model(path)
    assert {type(norm) for norm in norms_of(loaded)} == {keras.layers.BatchNormalization}
    images, _ = batch()
    expected = np.array(fused(images, training=False))
    np.testing.assert_allclose(loaded(images, training=False), expected, atol=1e-6)


def operations(model):
    """Names of the operations that a training call of `model` is traced to."""
    images, _ = batch()
    traced = tf.function(lambda x: model(x, training=True)).get_concrete_function(images)
    return {operation.type for operation in traced.graph.get_operations()}


@on_the_cpu
def test_the_fused_kernel_runs_inside_only_also_after_an_exception():
    model = build_model(SPEC)
    assert "FusedBatchNormV3" not in operations(model)
    with pytest.raises(RuntimeError, match="stop"), machine.fused_batch_norm(model):
        assert "FusedBatchNormV3" in operations(model)
        assert {type(norm) for norm in norms_of(model)} == {keras.layers.BatchNormalization}
        raise RuntimeError("stop")
    assert "FusedBatchNormV3" not in operations(model)
    for norm in norms_of(model):
        assert "call" not in vars(norm)


@on_the_cpu
def test_a_batch_norm_of_another_class_is_left_alone():
    class OtherNorm(keras.layers.BatchNormalization):
        pass

    other = OtherNorm()
    model = keras.Sequential([keras.Input((4, 4, 2)), other])
    with machine.fused_batch_norm(model):
        assert "call" not in vars(other)


def test_where_there_is_no_fused_kernel_nothing_changes(monkeypatch):
    monkeypatch.setattr(machine, "on_tensorflow_cpu", lambda: False)
    model = build_model(SPEC)
    with machine.fused_batch_norm(model):
        assert not any("call" in vars(norm) for norm in norms_of(model))


def settings():
    rewriter = tf.config.optimizer.get_experimental_options().get(REWRITE, False)
    return rewriter, keras.config.dtype_policy().name


def test_float32_training_changes_no_setting():
    before = settings()
    with machine.training_precision("float32"):
        assert settings() == before


@pytest.mark.parametrize("on_cpu", [True, False])
def test_bfloat16_training_restores_every_setting_also_after_an_exception(monkeypatch, on_cpu):
    monkeypatch.setattr(machine, "on_tensorflow_cpu", lambda: on_cpu)
    before = settings()
    assert before == (False, "float32")
    inside = (True, "float32") if on_cpu else (False, "mixed_bfloat16")
    with machine.training_precision("bfloat16"):
        assert settings() == inside
        assert {str(v.dtype) for v in build_model(SPEC).trainable_variables} == {"float32"}
    assert settings() == before
    with pytest.raises(RuntimeError, match="stop"), machine.training_precision("bfloat16"):
        raise RuntimeError("stop")
    assert settings() == before


@pytest.mark.parametrize(
    ("asked", "flags", "gpu", "settled"),
    [
        ("float32", "avx512_bf16", (9, 0), "float32"),
        ("bfloat16", "", None, "bfloat16"),
        ("auto", "avx2 avx512f", None, "float32"),
        ("auto", "avx512f avx512_bf16", None, "bfloat16"),
        ("auto", "amx_tile amx_bf16", None, "bfloat16"),
        ("auto", "", (8, 0), "bfloat16"),
        ("auto", "avx512_bf16", (7, 5), "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_hardware_multiplies_it(monkeypatch, asked, flags, gpu, settled):
    monkeypatch.setattr(machine, "_cpu_facts", lambda: {"flags": flags} if flags else {})
    monkeypatch.setattr(machine, "has_gpu", lambda: gpu is not None)
    monkeypatch.setattr(machine, "_gpu_facts", lambda: ("a GPU", gpu))
    assert machine.resolve_precision(asked) == settled


def test_the_device_is_described_in_one_line(monkeypatch):
    assert "\n" not in machine.describe_device()
    assert f"({keras.backend.backend()})" in machine.describe_device()
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert f", {cpu_count()} cores (" in machine.describe_device()
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "gpu:0", "gpu:1"])
    monkeypatch.setattr(machine, "_gpu_facts", lambda: ("NVIDIA H200", (9, 0)))
    assert machine.describe_device() == f"NVIDIA H200 ({keras.backend.backend()})"
