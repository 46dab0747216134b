"""What training images have in common: mean and deviation of each channel, images a class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasresnet.data.stored import Images, chunks_of


def balanced_weights(labels: np.ndarray, classes: int) -> dict[int, float]:
    """Weights of the classes at which each counts as much as any other, 1 on average an image."""
    counts = np.bincount(labels, minlength=classes)
    there = np.count_nonzero(counts)
    return {i: len(labels) / (there * n) if n else 0.0 for i, n in enumerate(counts.tolist())}


class Statistics(NamedTuple):
    """A number for each channel, in units of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(images: Images) -> Statistics:
    """Exact for uint8 images [N, H, W, C], counted by value; a deviation is 1/255 at least."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for chunk in chunks_of(images):
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    std = np.maximum(np.sqrt(variance), 1 / 255)  # a channel of one value divides by no zero
    # Six digits, so that what is written down is what was trained with.
    return Statistics(tuple(mean.round(6).tolist()), tuple(std.round(6).tolist()))
