"""The training settings change the speed, not the results, and leave nothing behind."""

import os

import keras
import pytest
import tensorflow as tf
from joblib import cpu_count

from kerasresnet import machine
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec

SPEC = ResNetSpec.from_text("BB1x6-BN1x4p3-in12x12x3")
REWRITE = "auto_mixed_precision_onednn_bfloat16"


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


HALVES = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}


@pytest.fixture
def no_threads_set(monkeypatch):
    for name in HALVES:
        monkeypatch.setenv(name, "")  # so that it is given back
        monkeypatch.delenv(name)


def threads():
    return {name: os.environ[name] for name in HALVES if name in os.environ}


@pytest.mark.parametrize(
    ("training", "cores", "found"),
    [(True, 2, HALVES), (False, 2, {}), (True, 1, {}), (True, 4, {})],
)
def test_a_training_on_two_cores_sets_the_threads(
    monkeypatch, no_threads_set, training, cores, found
):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    machine.quiet_tensorflow(training=training)
    assert threads() == found


@pytest.mark.parametrize("name", HALVES)
def test_threads_that_are_set_stay(monkeypatch, no_threads_set, name):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setenv(name, "3")
    machine.quiet_tensorflow(training=True)
    assert threads() == {name: "3"}


@pytest.mark.parametrize(
    ("set_so", "batch_size", "on_cpu", "halves"),
    [
        (HALVES, 32, True, True),
        (HALVES, 31, True, False),
        (HALVES, 32, False, False),
        (HALVES | {"TF_NUM_INTRAOP_THREADS": "2"}, 32, True, False),
        ({}, 32, True, False),
    ],
)
def test_batches_are_halved_where_the_threads_are_set_for_it(
    monkeypatch, no_threads_set, set_so, batch_size, on_cpu, halves
):
    monkeypatch.setattr(machine, "on_tensorflow_cpu", lambda: on_cpu)
    for name, value in set_so.items():
        monkeypatch.setenv(name, value)
    assert machine.trains_by_halves(batch_size) is halves
