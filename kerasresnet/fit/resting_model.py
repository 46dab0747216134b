"""A training that lets easy images rest: each epoch has a share of them, the hard ones always."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasresnet.fit.augmented_model import AugmentedModel
from kerasresnet.fit.strategy import replica

UNMIXED = 0.999  # of a target: one label, up to rounding


class RestingModel(AugmentedModel):
    """An `AugmentedModel` that remembers the loss of every image, and says which ones rest.

    In each epoch `images` - round(`share` · `images`) of them rest, those with the lowest loss when
    they were last seen, and never twice in a row: at a share of 3/4, half of the images are in
    every epoch and half in every second. (Selection by loss, as the proxy of airbench96's fastest
    variant does, arXiv 2404.00498; here the network chooses for itself.) The loss is that of one
    label, without label smoothing; of an image mixed with another (Mixup, CutMix) it stays as it
    was. Batches are (images, places, turns) and targets. What it remembers is saved with its
    weights, so a restored run goes on with the images that an unbroken one would have seen.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: Callable | None,
        seed: int,
        class_weights: Mapping[int, float] | None = None,
        *,
        images: int,
        share: float,
    ) -> None:
        super().__init__(network, augmentation, seed, class_weights)
        self._resting = images - round(share * images)
        settings = {"shape": (images,), "trainable": False}
        # Infinite until an image is seen, and again when it has rested: it cannot rest once more.
        self.losses_seen = self.add_weight(name="losses_seen", initializer=_infinite, **settings)
        self.rests = self.add_weight(name="rests", dtype="int32", initializer="zeros", **settings)
        # Those of this epoch, 0 where there is none: devices that share a batch add theirs up.
        self.news = self.add_weight(
            name="news", initializer="zeros", aggregation="mean", **settings
        )

    def begin_epoch(self, epoch: int) -> np.ndarray:
        """Choose who rests in `epoch`; returns the turn of each image, negative where it rests.

        A turn, int [images], counts the epochs that had the image before.
        """
        news, rests = np.array(self.news), np.array(self.rests)
        losses = np.where(news > 0, news, np.array(self.losses_seen))
        drawn = np.random.default_rng((self._seed, epoch)).permutation(len(losses))  # breaks ties
        resting = drawn[np.argsort(losses[drawn], kind="stable")[: self._resting]]
        turns = epoch - rests
        turns[resting] = -1
        losses[resting] = np.inf
        rests[resting] += 1
        self.losses_seen.assign(losses)
        self.rests.assign(rests)
        self.news.assign(np.zeros_like(news))
        return turns

    def augmented(self, batch: tuple[Any, Any], step: Any) -> tuple[Any, Any]:
        """Inputs, images and their places, and targets of a training step."""
        (_, places, _), _ = batch
        images, targets = super().augmented(batch, step)
        return (images, places), targets

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras' own loss; in a training step the losses of the images are written down."""
        if isinstance(x, tuple):
            self._remember(x[1], y, ops.stop_gradient(y_pred))
            x = x[0]
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def _remember(self, places: Any, targets: Any, logits: Any) -> None:
        losses = ops.categorical_crossentropy(targets, logits, from_logits=True)
        losses = ops.maximum(losses, keras.config.epsilon())  # 0 says that there is none
        losses = ops.where(ops.max(targets, axis=-1) > UNMIXED, losses, 0.0)
        _, devices = replica()
        places = ops.cast(places[:, None], "int32")  # Keras traces once with a mean of them
        news = ops.scatter(places, devices * losses, self.news.shape)
        self.news.assign(self.news + news)  # the mean of what the devices assign


def _infinite(shape: tuple[int, ...], dtype: str) -> Any:
    return ops.full(shape, float("inf"), dtype)
