"""The same kernels on the JAX backend, without TensorFlow; skipped where JAX is not installed."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")

APPLY = """
import sys
import numpy as np
import jax
from kerasresnet.augment import operations
from kerasresnet.augment.apply import Draws, apply_draws
given, ranges = np.load(sys.argv[1]), getattr(operations, sys.argv[3])
run = jax.jit(lambda images, *draws: apply_draws(images, Draws(*draws), top=30, operations=ranges))
np.save(sys.argv[2], run(*(given[key] for key in ("images", "operation", "level", "mirror"))))
assert "tensorflow" not in sys.modules
"""

TRAIN = """
import sys
import jax
import keras
import numpy as np
from kerasresnet.augment import RandAugment, RandomCrop, RandomFlip, build_augmentation
images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
targets = np.eye(10, dtype="float32")[np.arange(16) % 10]
policy = ["crop:reflect=true", "flip(alternating=true)", "randaugment(n=1, std=1)"]
policy += ["trivialaugment", "cutout", "erase", "mixup", "cutmix"]
augment = build_augmentation(policy, num_classes=10)
compiled = jax.jit(augment.__call__)
def run(seed):
    identity = {"indices": np.arange(16), "epoch": 3}
    return compiled(images, targets, np.array(seed, "int32"), **identity)
once, again, other = run([1, 2]), run([1, 2]), run([1, 3])
assert once[0].shape == images.shape and once[0].dtype == "uint8"
assert np.allclose(once[1].sum(axis=1), 1)
assert all((a == b).all() for a, b in zip(once, again))
assert (other[0] != once[0]).any() and (other[1] != once[1]).any()
model = keras.Sequential([
    keras.Input((32, 32, 3), dtype="uint8"), RandomCrop(), RandomFlip(), RandAugment(1),
    keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(10)])
model.compile("sgd", "mse")
model.fit(images, targets, batch_size=8, verbose=0)
assert (model.predict(images, verbose=0) == model.predict(images, verbose=0)).all()
assert "tensorflow" not in sys.modules
"""

PIPELINE = """
import numpy as np
import pytest
import tensorflow as tf
from kerasresnet.augment import RandAugment, build_augmentation
images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
targets = np.eye(10, dtype="float32")[np.arange(16) % 10]
augment = build_augmentation(["crop", "flip", "randaugment(n=1, std=1)", "erase", "mixup"])
batches = tf.data.Dataset.from_tensors((images, targets))
augmented = next(iter(batches.map(lambda x, y: augment(x, y, [1, 2]))))
assert augmented[0].dtype == tf.uint8 and augmented[0].shape == images.shape
layer = RandAugment(1)
seeded = next(iter(batches.map(lambda x, y: layer(x, seed=[1, 2]))))
assert isinstance(seeded, tf.Tensor) and (seeded.numpy() != images).any()
with pytest.raises(Exception, match="Pass seed="):
    batches.map(lambda x, y: layer(x))
"""


def run_on_jax(code: str, *arguments: object) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("ranges", ["OPERATIONS", "WIDE_OPERATIONS"])
def test_operations_are_those_of_tensorflow_within_a_level(ranges, tmp_path):
    from kerasresnet.augment import operations
    from kerasresnet.augment.apply import Draws, apply_draws

    rng = np.random.default_rng(0)
    names = [name for name in operations.OPERATIONS for _ in range(16)]
    images = rng.integers(0, 256, (len(names), 32, 32, 3), dtype=np.uint8)
    images[::2] = images[::2] // 3 + 40  # so that autocontrast and equalize have work to do
    draws = Draws(
        operation=np.array([[operations.CODE[name]] for name in names], "int32"),
        level=rng.integers(0, 31, (len(names), 1)).astype("float32"),
        mirror=rng.random((len(names), 1)) < 0.5,
    )
    by_tensorflow = apply_draws(images, draws, top=30, operations=getattr(operations, ranges))
    expected = by_tensorflow.numpy().astype(int)
    np.savez(tmp_path / "given.npz", images=images, **draws._asdict())
    run_on_jax(APPLY, tmp_path / "given.npz", tmp_path / "result.npy", ranges)
    difference = np.abs(np.load(tmp_path / "result.npy") - expected).max(axis=(1, 2, 3))
    rounded = ("AutoContrast", "Brightness", "Color", "Contrast", "Sharpness")
    for name, most in zip(names, difference, strict=True):
        assert most <= (1 if name in rounded else 0), name


def test_policies_and_models_work_without_tensorflow():
    run_on_jax(TRAIN)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow")
def test_a_tf_data_pipeline_works_under_the_jax_backend():
    run_on_jax(PIPELINE)
