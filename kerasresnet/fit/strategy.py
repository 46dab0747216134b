"""A training over all GPUs of a machine, by `tf.distribute`: each takes its part of every batch.

The batch of a recipe stays that of all devices together, so its learning rate, its steps and its
cost do too. Batch norm takes the statistics of the whole batch, and the loss is that of one device
to rounding; what augmentation inside the training step draws depends on how many they are. Keras'
own distribution API (`keras.distribution`) serves JAX only, and its `fit` does not train under
`MultiWorkerMirroredStrategy`: docs/support.md says where it fails.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, get_args

from kerasresnet.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from kerasresnet.recipe import Recipe

Strategy = Literal["single", "mirrored"]
MULTIWORKER = (
    "--strategy multiworker is not there: Keras does not train under TensorFlow's "
    "MultiWorkerMirroredStrategy (docs/support.md says where it fails); use --strategy mirrored "
    "for the GPUs of one machine, and python -m tuning.search --ray for trainings on many"
)


@contextlib.contextmanager
def spread(strategy: Strategy, recipe: Recipe) -> Iterator[None]:
    """Build and train inside this: the variables are on every device that trains.

    Raises `UsageError` as `check_devices` does.
    """
    devices = check_devices(strategy, recipe)
    if len(devices) < 2:
        yield
        return
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(devices).scope():
        yield


def check_strategy(strategy: str) -> None:
    """Raises `UsageError` for a strategy that there is not."""
    if strategy == "multiworker":
        raise UsageError(MULTIWORKER)
    if strategy not in get_args(Strategy):
        raise UsageError(unknown("strategy", strategy, get_args(Strategy)))


def check_devices(strategy: Strategy, recipe: Recipe) -> list[str]:
    """The devices that share a batch: all GPUs, or all (virtual) processors without any; or none.

    Raises `UsageError` where there is no such strategy, where Keras does not run on TensorFlow,
    where there are no two devices, and where `recipe` has batches that cannot be shared.
    """
    check_strategy(strategy)
    if strategy == "single":
        return []
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"--strategy {strategy} needs KERAS_BACKEND=tensorflow, received "
            f"{keras.backend.backend()}; leave it out"
        )
    import tensorflow as tf

    for kind in ("GPU", "CPU"):
        if devices := [device.name for device in tf.config.list_logical_devices(kind)]:
            break
    if len(devices) < 2:
        raise UsageError(
            f"--strategy {strategy} shares a training between GPUs, and TensorFlow sees "
            f"{len(devices)} {kind}; leave it out"
        )
    if recipe.batch_size % len(devices):
        raise UsageError(
            f"a batch of {recipe.batch_size} images cannot be shared by {len(devices)} devices; "
            f"give a --batch-size that {len(devices)} divides"
        )
    return devices


def shares_batches() -> bool:
    """Whether what is built here trains on its part of a batch: inside `spread`, over devices."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy()


def replica() -> tuple[Any, int]:
    """Which of the devices that share a batch this step runs on, from 0, and how many they are."""
    if not shares_batches():
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:  # Keras builds a model for all of them at once
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def synchronized_copy(network: keras.Model) -> keras.Model:
    """`network` with its weights, its batch norms over the batches of all devices together."""
    import keras

    def replace(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if type(layer) is keras.layers.BatchNormalization:
            config["synchronized"] = True
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=replace)
    copy.set_weights(network.get_weights())
    return copy
