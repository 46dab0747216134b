"""Brightness, contrast, colour and sharpness: mixtures with a poorer image, as `ImageEnhance`.

Every result is poorer + factor · (image − poorer), cut to 0…255 and rounded down. The poorer
image is black, the mean grey, the grey picture or the smoothed one. All sums stay below 2²⁴, so
that float32 holds them exactly. Images are uint8 [n, H, W, C] with 3 channels or 1, `operation`
codes int32 [n], `factor` float32 [n].
"""

import numpy as np

from kerasresnet.augment.arrays import Tensor, ops
from kerasresnet.augment.operations import CODE


def blend_with_level(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """Brightness (away from black) and contrast (away from the mean grey)."""
    pixels = ops.cast(images, "float32")
    contrast = (operation == CODE["Contrast"])[:, None, None, None]
    return _blend(pixels, ops.where(contrast, _mean_level(grey_of(pixels)), 0.0), factor)


def blend_with_grey(images: Tensor, _: Tensor, factor: Tensor) -> Tensor:
    """Colour: away from the grey picture."""
    pixels = ops.cast(images, "float32")
    return _blend(pixels, grey_of(pixels), factor)


def blend_with_smooth(images: Tensor, _: Tensor, factor: Tensor) -> Tensor:
    """Sharpness: away from the smoothed picture."""
    pixels = ops.cast(images, "float32")
    return _blend(pixels, smooth(pixels), factor)


def _blend(pixels: Tensor, poorer: Tensor, factor: Tensor) -> Tensor:
    mixed = poorer + factor[:, None, None, None] * (pixels - poorer)
    return ops.cast(ops.clip(mixed, 0.0, 255.0), "uint8")


def grey_of(pixels: Tensor) -> Tensor:
    """Luma (ITU-R 601) rounded to whole levels, float32 [n, H, W, 1], of levels [n, H, W, C]."""
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = (pixels[..., channel : channel + 1] for channel in range(3))
    return ops.floor((red * 19595 + green * 38470 + blue * 7471 + 0x8000) / 0x10000)


def _mean_level(grey: Tensor) -> Tensor:
    """The mean, rounded half up, float32 [n, 1, 1, 1], of whole levels [n, H, W, 1]."""
    _, height, width, _ = ops.shape(grey)
    total = ops.sum(ops.cast(grey, "int32"), axis=(1, 2), keepdims=True)
    return ops.cast((2 * total + height * width) // (2 * height * width), "float32")


def smooth(pixels: Tensor) -> Tensor:
    """PIL's SMOOTH filter: 3×3, centre 5, others 1, over 13, rounded; the border stays.

    `pixels` are whole levels as float32 [n, H, W, C], and so is the result.
    """
    _, height, width, channels = ops.shape(pixels)
    kernel = np.ones((3, 3, channels, 1), "float32")
    kernel[1, 1] = 5
    total = ops.depthwise_conv(pixels, kernel, padding="same", data_format="channels_last")
    smoothed = ops.floor((total + 6.5) / 13)  # never a whole multiple of 13: rounding is safe
    row = ops.arange(height, dtype="int32")[:, None, None]
    column = ops.arange(width, dtype="int32")[None, :, None]
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return ops.where(inner, smoothed, pixels)
