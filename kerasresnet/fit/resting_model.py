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
UNKNOWN = np.finfo("float32").max  # in place of a loss: above all of them, below infinity


class RestingModel(AugmentedModel):
    """An `AugmentedModel` that remembers the loss of every image, and says which ones rest.

    In each epoch `resting` of its `images` rest, those with the lowest loss since their last rest,
    and none twice in a row: where a quarter rests, half of the images are in every epoch and half
    in every second. (The fastest variant of airbench96, arXiv 2404.00498, trains on the half with
    the higher loss, by a small network; here the network chooses for itself.) The loss is that of
    one label, without label smoothing; an image mixed with another (Mixup, CutMix) has none. Who
    has no loss rests only where those that have one are too few. Batches are (images, places,
    turns) and targets. What it remembers is saved with its weights, so a restored run goes on with
    the images that an unbroken one would have seen.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: Callable | None,
        seed: int,
        class_weights: Mapping[int, float] | None = None,
        *,
        images: int,
        resting: int,
    ) -> None:
        super().__init__(network, augmentation, seed, class_weights)
        self._resting = resting
        settings = {"shape": (images,), "trainable": False}
        self.losses_seen = self.add_weight(name="losses_seen", initializer=_unknown, **settings)
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
        losses = np.minimum(losses, UNKNOWN)
        losses[resting] = np.inf  # behind all others at the next choice
        rests[resting] += 1
        self.losses_seen.assign(losses)
        self.rests.assign(rests)
        self.news.assign(np.zeros_like(news))
        return turns

    def augmented(self, inputs: Any, targets: Any, step: Any) -> tuple[Any, Any]:
        """Inputs, images and their places, and targets of a training step."""
        images, targets = super().augmented(inputs, targets, step)
        return (images, inputs[1]), targets

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


def _unknown(shape: tuple[int, ...], dtype: str) -> Any:
    return ops.full(shape, UNKNOWN, dtype)
