"""Training batches straight from NumPy arrays, where TensorFlow need not be installed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasresnet.data.images import check_labelled_images
from kerasresnet.data.pipeline import steps_per_epoch
from kerasresnet.data.stored import Images


class ArrayBatches(keras.utils.PyDataset):
    """The shuffled batches of one epoch: images uint8 [B, H, W, C], one-hot targets float32.

    For backends other than TensorFlow whose training step augments by itself. The order is a
    function of (seed, epoch), so a run that goes on sees what an unbroken one would have seen. The
    last batch is dropped where it is not full. `turns` and `identified` are those of
    `train_dataset`.

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
        epoch: int = 0,
        identified: bool = False,
        turns: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        check_labelled_images(images, labels, num_classes, what="the training set")
        self._turns = np.full(len(images), epoch) if turns is None else turns
        seen = np.flatnonzero(self._turns >= 0)
        self._steps = steps_per_epoch(len(seen), batch_size)
        self._order = np.random.default_rng((seed, epoch)).permutation(seen)
        self._images = images
        self._targets = np.eye(num_classes, dtype="float32")[labels]
        self._batch_size = batch_size
        self._identified = identified

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[Any, np.ndarray]:
        chosen = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        images, targets = self._images[chosen], self._targets[chosen]
        if self._identified:
            places, turns = chosen.astype("int32"), self._turns[chosen].astype("int32")
            return (images, places, turns), targets
        return images, targets


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
