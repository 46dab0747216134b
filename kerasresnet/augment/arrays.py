"""`ops`, the array operations that every kernel here is written in, and `gather` and `route`.

`ops` is `keras.ops`, except while a tf.data pipeline is built under another Keras backend: then
it is Keras' TensorFlow implementation of the same names, so that one kernel serves both.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras

_KERAS_ON_TENSORFLOW = "keras.src.backend.tensorflow"
Tensor = Any  # tf.Tensor, jax.Array or numpy.ndarray


def on_tensorflow() -> bool:
    """Whether the operations called now are TensorFlow's."""
    return keras.backend.backend() == "tensorflow" or in_foreign_pipeline()


def in_foreign_pipeline() -> bool:
    """Whether a TensorFlow graph is being built although Keras runs on another backend."""
    if keras.backend.backend() == "tensorflow" or "tensorflow" not in sys.modules:
        return False
    return not sys.modules["tensorflow"].executing_eagerly()


class _Operations:
    """Looks each name up in the implementation that fits the moment of the call."""

    def __getattr__(self, name: str) -> Callable[..., Tensor]:
        if not in_foreign_pipeline():
            return getattr(keras.ops, name)
        for module in ("numpy", "core", "math", "nn"):
            implementation = importlib.import_module(f"{_KERAS_ON_TENSORFLOW}.{module}")
            if hasattr(implementation, name):
                return getattr(implementation, name)
        raise AttributeError(f"Keras' TensorFlow backend has no operation {name!r}")


ops = _Operations()


def random_operations() -> ModuleType:
    """`keras.random`, or its TensorFlow implementation where `ops` are TensorFlow's."""
    if in_foreign_pipeline():
        return importlib.import_module(f"{_KERAS_ON_TENSORFLOW}.random")
    return keras.random


def without_autograph(function: Callable) -> Callable:
    """`function`, hidden from tf.data's autograph, which would rewrite it for nothing."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow.autograph.experimental.do_not_convert(function) if tensorflow else function


def gather(table: Tensor, indices: Tensor) -> Tensor:
    """``table[indices]`` along the first axis; every index must lie inside.

    `keras.ops.take` would also look for negative indices, in two more passes.
    """
    if on_tensorflow():
        return sys.modules["tensorflow"].gather(table, indices)
    return ops.take(table, indices, axis=0)


def route(
    branches: Sequence[Callable[..., Tensor]], choice: Tensor, images: Tensor, *parameters: Tensor
) -> Tensor:
    """``branches[choice[i]](images[i], …)`` for each image i, each branch on a batch of its own.

    `branches` map uint8 [n, H, W, C] and the images' `parameters` [n, …] to uint8 [n, H, W, C];
    `choice` is int32 [B]. Where shapes may vary, in TensorFlow's pipelines and graphs, a branch
    gets only the images that chose it. XLA, and so JAX, wants fixed shapes: there each branch
    gets the whole batch, and the results are selected.
    """
    if on_tensorflow() and not _compiled_by_xla():
        return _route_by_partition(branches, choice, images, *parameters)
    out = images
    for number, branch in enumerate(branches):
        chosen = ops.reshape(choice == number, (-1, 1, 1, 1))
        out = ops.where(chosen, branch(images, *parameters), out)
    return out


def _compiled_by_xla() -> bool:
    """Whether TensorFlow is tracing inside a function with ``jit_compile=True``."""
    from tensorflow.python.ops import control_flow_util  # no public name says it

    graph = sys.modules["tensorflow"].compat.v1.get_default_graph()
    return control_flow_util.GraphOrParentsInXlaContext(graph)


def _route_by_partition(branches, choice, images, *parameters):
    tf = sys.modules["tensorflow"]
    count = len(branches)
    positions = tf.dynamic_partition(tf.range(tf.shape(choice)[0]), choice, count)
    parts = [tf.dynamic_partition(tensor, choice, count) for tensor in (images, *parameters)]
    results = [branch(*part) for branch, *part in zip(branches, *parts, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(positions, results), images.shape)
