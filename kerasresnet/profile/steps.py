"""Training steps and matrix products, timed: what a machine does, and what it could."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from kerasresnet.recipe import Recipe

SIDE = 2_048  # of the matrices: what they multiply stays far above what they move
WARM = 3  # steps, in which graphs are made


def training_step(recipe: Recipe, images: np.ndarray, targets: np.ndarray) -> Callable[[], float]:
    """A training step on the next batch, as `fit` makes them; it gives back the loss.

    `images` are uint8 [N, H, W, C], `targets` one-hot [N, K], both in memory: no augmentation, no
    waiting for data. Call this, and the step, inside `machine.training_precision`.
    """
    import tensorflow as tf

    from kerasresnet.fit.compiled import compile_model, network_for

    network = network_for(recipe, images)
    compile_model(network, recipe, len(images))
    data = tf.data.Dataset.from_tensor_slices((images, targets))
    batches = iter(data.batch(recipe.batch_size, drop_remainder=True).repeat().prefetch(2))
    network.make_train_function()
    step = network.train_function
    for _ in range(WARM):
        step(batches)
    return lambda: float(step(batches)["loss"])


def matrix_products(precision: str) -> tuple[Callable[[], object], float]:
    """Products of two matrices, as many as run side by side here, and their GFLOP.

    Where TensorFlow has one thread for an operation and runs several at once, one product would
    keep one core busy.
    """
    import tensorflow as tf

    from kerasresnet.machine import THREADS

    halved = all(os.environ.get(name) == threads for name, threads in THREADS.items())
    count = int(THREADS["TF_NUM_INTEROP_THREADS"]) if halved else 1
    draw = tf.random.Generator.from_seed(0)
    pairs = [[tf.cast(draw.normal((SIDE, SIDE)), precision) for _ in "ab"] for _ in range(count)]

    @tf.function
    def multiply() -> list[tf.Tensor]:
        return [tf.matmul(one, other) for one, other in pairs]

    return lambda: [product.numpy() for product in multiply()], count * 2 * SIDE**3 / 1e9


def a_second(step: Callable[[], object], worth: float, seconds: float) -> float:
    """The worth of the steps that `seconds` hold, a second; at least one step."""
    steps, start = 0, time.perf_counter()
    while not steps or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps * worth / (time.perf_counter() - start)
