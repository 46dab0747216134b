"""What this machine is, and the settings under which it trains fastest at equal results.

Importing this imports no Keras: a command must be able to silence its start first.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "bfloat16"]


def describe_device() -> str:
    """One line for humans: the accelerators, or the processor and its cores."""
    import keras
    from joblib import cpu_count

    if has_gpu():
        return f"{_gpu_facts()[0]} ({keras.backend.backend()})"
    return f"{_processor()}, {cpu_count()} cores ({keras.backend.backend()})"


@functools.cache
def _cpu_facts() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _processor() -> str:
    return _cpu_facts().get("model name") or platform.processor() or platform.machine()


def has_gpu() -> bool:
    """Whether the Keras backend sees an accelerator."""
    import keras

    return any(not d.startswith("cpu") for d in keras.distribution.list_devices())


def _gpu_facts() -> tuple[str, tuple[int, int]]:
    """Name and compute capability of the first accelerator; (8, 0) where it has no such thing."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(
            tf.config.list_physical_devices("GPU")[0]
        )
        return details.get("device_name", "GPU"), details.get("compute_capability", (8, 0))
    if keras.backend.backend() == "jax":
        import jax

        gpu = jax.devices()[0]
        major, minor = str(getattr(gpu, "compute_capability", "8.0")).split(".")
        return gpu.device_kind, (int(major), int(minor))
    return keras.distribution.list_devices()[0], (8, 0)


def resolve_precision(precision: Precision) -> Literal["float32", "bfloat16"]:
    """Settle "auto": bfloat16 where the hardware multiplies it, else float32.

    That is on NVIDIA GPUs of compute capability 8.0 or more, other accelerators, and under
    TensorFlow on CPUs with AVX512-BF16 or AMX.
    """
    if precision != "auto":
        return precision
    if has_gpu():
        fast = _gpu_facts()[1] >= (8, 0)
    else:
        flags = _cpu_facts().get("flags", "").split()
        fast = on_tensorflow_cpu() and bool({"avx512_bf16", "amx_bf16"} & set(flags))
    return "bfloat16" if fast else "float32"


def on_tensorflow_cpu() -> bool:
    """Whether Keras trains through TensorFlow, and on the processor."""
    import keras

    return keras.backend.backend() == "tensorflow" and not has_gpu()


@contextlib.contextmanager
def training_precision(precision: Literal["float32", "bfloat16"]) -> Iterator[None]:
    """Build and train inside this: the network's weights are float32 under both settings.

    On a CPU, TensorFlow's graph rewriter chooses which operations run in bfloat16: measured 1.3
    times as fast as Keras' own policy there, which casts around every batch norm. Elsewhere it
    is Keras' `mixed_bfloat16`.
    """
    import keras

    if precision == "float32":
        yield
    elif on_tensorflow_cpu():
        import tensorflow as tf

        rewrite = "auto_mixed_precision_onednn_bfloat16"
        before = tf.config.optimizer.get_experimental_options().get(rewrite, False)
        tf.config.optimizer.set_experimental_options({rewrite: True})
        try:
            yield
        finally:
            tf.config.optimizer.set_experimental_options({rewrite: before})
    else:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)


THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "2"}


def trains_by_halves(batch_size: int) -> bool:
    """Whether a training takes the halves of its batches on a core each.

    Measured on two cores: oneDNN's backward convolutions are faster on one thread than on two, if
    two of them run at a time. So this is where `quiet_tensorflow(training=True)` found two cores,
    or TensorFlow's threads were set so by hand, and for batches of at least 32 images.
    """
    set_so = all(os.environ.get(name) == threads for name, threads in THREADS.items())
    return on_tensorflow_cpu() and set_so and batch_size >= 32


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: TensorFlow's C++ writes there before any log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def quiet_tensorflow(verbose: bool = False, *, training: bool = False) -> None:
    """Import Keras and its backend for the first time, silently unless `verbose`.

    For `training` on two cores TensorFlow runs two operations at once, with one thread each (see
    `trains_by_halves`), unless one of its variables for that is set already.
    """
    if training and not any(name in os.environ for name in THREADS):
        from joblib import cpu_count

        if cpu_count() == 2:
            os.environ.update(THREADS)
    if verbose:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_closed():
        import keras

        # The device search is what logs: make it happen here.
        keras.distribution.list_devices()
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # what TFDS warns of while it looks for a set
