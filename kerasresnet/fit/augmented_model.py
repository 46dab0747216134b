"""A model whose training step augments its own batch, on the accelerator that it trains on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from kerasresnet.fit.strategy import replica


class AugmentedModel(keras.Model):
    """`network`, trained on what `augmentation` makes of every batch; the same in all else.

    `augmentation(images, targets, seed)` is stateless; its seed comes from `seed` and the
    optimizer's step, so a restored optimizer goes on with the batches that an unbroken run would
    have seen; devices that share a batch draw each for its part. With None, batches stay as they
    are. Where the first part of a batch is (images, places, turns), the augmentation gets the
    images' places in the data set, int32 [B], as `indices`, and how often each was seen before,
    int32 [B], as `epoch`. `class_weights`, of each class, weigh what came of an image by the
    largest of its target. What is saved, evaluated and exported is `network`, which knows nothing
    of this.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: Callable | None,
        seed: int,
        class_weights: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(name="augmented")
        self.network = network
        self.augmentation = augmentation
        self._seed = seed
        self._class_weights = class_weights and [class_weights[i] for i in sorted(class_weights)]
        self.built = True  # all variables are the network's, and exist

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return self.network(images, training=training)

    def train_step(self, *arguments: Any) -> Any:
        """Keras' own step on an augmented batch: (data) on TensorFlow, (state, data) on JAX."""
        *state, (inputs, targets, *weights) = arguments
        # JAX passes every variable as an argument; the first of the optimizer's is its step.
        step = ops.cast(state[0][2][0] if state else self.optimizer.iterations, "int32")
        inputs, targets = self.augmented(inputs, targets, step)
        if self._class_weights:
            weights = [ops.take(ops.array(self._class_weights), ops.argmax(targets, axis=-1))]
        return super().train_step(*state, (inputs, targets, *weights))

    def augmented(self, inputs: Any, targets: Any, step: Any) -> tuple[Any, Any]:
        """What the step trains on in place of a batch: inputs and targets."""
        images, *identity = inputs if isinstance(inputs, tuple) else (inputs,)
        if self.augmentation is None:
            return images, targets
        device, devices = replica()
        seed = ops.stack([ops.cast(self._seed, "int32"), step * devices + device])
        known = dict(zip(("indices", "epoch"), identity, strict=False))
        return self.augmentation(images, targets, seed, **known)

    def save(self, *arguments: Any, **settings: Any) -> None:
        """Save `network`, as Keras' `ModelCheckpoint` asks for."""
        self.network.save(*arguments, **settings)
