"""The weights of a whitening stem: what decorrelates small patches of the training images.

K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498), section 3.2.
"""

from __future__ import annotations

import keras
import numpy as np

from kerasresnet.errors import UsageError
from kerasresnet.network.blocks import WHITENING

_IMAGES = 5_000  # more change nothing that can be measured
_CHUNK = 500  # images at a time in float64, for the memory that their patches take
_EPSILON = 5e-4  # of the variance of normalised pixels: keeps directions without signal small


def set_whitening(model: keras.Model, images: np.ndarray) -> None:
    """Give the whitening stem of `model` its weights, from `images` uint8 [N, H, W, C].

    At most 5,000 images are looked at, evenly spaced. Raises `UsageError` where there is none, or
    where they have other channels than the model.
    """
    layer = model.get_layer(WHITENING)
    kernel, _, channels, _ = layer.kernel.shape
    if images.ndim != 4 or not len(images) or images.shape[3] != channels:
        raise UsageError(
            f"whitening needs training images of {channels} channels, uint8 [N, H, W, {channels}], "
            f"received {list(images.shape)}"
        )
    chosen = images[:: -(-len(images) // _IMAGES)]
    pixels = np.asarray(model.get_layer("normalisation")(chosen))
    layer.set_weights([whitening_kernel(pixels, kernel)])


def whitening_kernel(pixels: np.ndarray, kernel: int) -> np.ndarray:
    """Float32 [k, k, C, 2·k²·C] from normalised `pixels` float32 [N, H, W, C].

    The eigenvectors of the second moments of all k x k patches, largest first, each divided by the
    root of its eigenvalue; then their negatives, so that a ReLU loses nothing.
    """
    size, count = kernel * kernel * pixels.shape[3], 0
    moments = np.zeros((size, size))
    # In float64: of float32 sums, directions without signal would keep the rounding alone.
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start : start + _CHUNK].astype("float64")
        patches = np.lib.stride_tricks.sliding_window_view(chunk, (kernel, kernel), axis=(1, 2))
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)
        moments += patches.T @ patches
        count += len(patches)
    values, vectors = np.linalg.eigh(moments / count)
    weights = vectors[:, ::-1] / np.sqrt(values[::-1] + _EPSILON)
    weights = weights.reshape(kernel, kernel, pixels.shape[3], -1)
    return np.concatenate([weights, -weights], axis=-1).astype("float32")
