"""Memory between trials: what TensorFlow keeps of a finished model, given back."""

from __future__ import annotations

import ctypes
import gc

import keras
import psutil


def forget_models() -> None:
    """Free what is left of models that nobody uses any more.

    TensorFlow registers the gradient of every custom-gradient function (a softmax cross-entropy
    holds one) under a global name, and with it the whole graph of the training step, for ever:
    20 MB a trial. Keras' clear_session does not know of them.
    """
    keras.backend.clear_session()
    if keras.backend.backend() == "tensorflow":
        _forget_custom_gradients()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps freed memory otherwise
        libc.malloc_trim(0)


def _forget_custom_gradients() -> None:
    from tensorflow.python.framework import ops

    # Private: where a later TensorFlow keeps them elsewhere, processes are recycled sooner.
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        del registry[name]


class Growth:
    """Says when this process has grown so much that it should be replaced by a new one.

    Growth is measured in resident memory from the first call on, which comes after a training:
    what TensorFlow takes for its first one it keeps and uses again. `most` is a share of that, for
    what differs from one network to the next grows with their size.
    """

    def __init__(self, most: float = 0.25) -> None:
        self.most = most
        self.first: int | None = None

    def too_much(self) -> bool:
        forget_models()
        now = psutil.Process().memory_info().rss
        self.first = self.first or now
        return now > self.first * (1 + self.most)
