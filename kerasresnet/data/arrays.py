"""Training batches straight from NumPy arrays, where TensorFlow need not be installed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasresnet.data.images import check_labelled_images
from kerasresnet.data.pipeline import steps_per_epoch
from kerasresnet.data.stored import Images


class ArrayBatches(keras.utils.PyDataset):
    """Shuffled batches: images uint8 [B, H, W, C], one-hot targets float32 [B, classes].

    For backends other than TensorFlow whose training step augments by itself. The order of an
    epoch is a function of (seed, epoch), so a run that starts at `first_epoch` sees what an
    unbroken one would have seen. The last batch of an epoch is dropped where it is not full. Where
    `identified`, the first part of a batch is (images, places, turns), both int32 [B]: a turn says
    how often the image was seen before, which is once in each epoch, or what `turns`, int [images],
    says; an image whose turn is negative is left out.

    Raises `UsageError` for wrong arrays, a label out of range, or not one full batch.
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        *,
        num_classes: int,
        batch_size: int,
        seed: int,
        first_epoch: int = 0,
        identified: bool = False,
        turns: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        check_labelled_images(images, labels, num_classes, what="the training set")
        self._turns = turns
        self._seen = np.arange(len(images)) if turns is None else np.flatnonzero(turns >= 0)
        self._steps = steps_per_epoch(len(self._seen), batch_size)
        self._images = images
        self._targets = np.eye(num_classes, dtype="float32")[labels]
        self._batch_size = batch_size
        self._seed = seed
        self._epoch, self._begun = first_epoch, False
        self._identified = identified
        self._shuffle()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[Any, np.ndarray]:
        chosen = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        images, targets = self._images[chosen], self._targets[chosen]
        if not self._identified:
            return images, targets
        before = np.full_like(chosen, self._epoch) if self._turns is None else self._turns[chosen]
        return (images, chosen.astype("int32"), before.astype("int32")), targets

    def on_epoch_begin(self) -> None:  # Keras calls that of the end before the first as well
        if self._begun:
            self._epoch += 1
            self._shuffle()
        self._begun = True

    def _shuffle(self) -> None:
        rng = np.random.default_rng((self._seed, self._epoch))
        self._order = rng.permutation(self._seen)


class ArrayBatchesInOrder(keras.utils.PyDataset):
    """Every image once, in order: uint8 [B, H, W, C], one-hot targets float32 [B, classes].

    The last batch may be smaller. Raises `UsageError` as `ArrayBatches` does, but for its size.
    """

    def __init__(
        self, images: Images, labels: np.ndarray, *, num_classes: int, batch_size: int
    ) -> None:
        super().__init__()
        check_labelled_images(images, labels, num_classes, what="the evaluation set")
        self._steps = steps_per_epoch(len(images), batch_size, drop_remainder=False)
        self._images = images
        self._targets = np.eye(num_classes, dtype="float32")[labels]
        self._batch_size = batch_size

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        here = slice(step * self._batch_size, (step + 1) * self._batch_size)
        return self._images[here], self._targets[here]
