"""A model whose training step augments its own batch, on the accelerator that it trains on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class AugmentedModel(keras.Model):
    """`network`, trained on what `augmentation` makes of every batch; the same in all else.

    `augmentation(images, targets, seed)` is stateless; its seed comes from `seed` and the
    optimizer's step, so a restored optimizer goes on with the batches that an unbroken run would
    have seen. Where batches have a third part, int32 [B], the images' places in the data set, it
    gets these as `indices`, and the `epoch`, counted in `steps_per_epoch`. What is saved, evaluated
    and exported is `network`, which knows nothing of this.
    """

    def __init__(
        self, network: keras.Model, augmentation: Callable, seed: int, steps_per_epoch: int = 1
    ) -> None:
        super().__init__(name="augmented")
        self.network = network
        self.augmentation = augmentation
        self._seed = seed
        self._steps_per_epoch = steps_per_epoch
        self.built = True  # all variables are the network's, and exist

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.network(images, training=training)

    def train_step(self, *arguments: Any) -> Any:
        """Keras' own step on an augmented batch: (data) on TensorFlow, (state, data) on JAX."""
        *state, (images, targets, *places) = arguments
        # JAX passes every variable as an argument; the first of the optimizer's is its step.
        step = ops.cast(state[0][2][0] if state else self.optimizer.iterations, "int32")
        seed = ops.stack([ops.cast(self._seed, "int32"), step])
        epoch = step // self._steps_per_epoch
        identity = {"indices": places[0], "epoch": epoch} if places else {}
        return super().train_step(*state, self.augmentation(images, targets, seed, **identity))
