"""Kernels that move pixels: crop, flip, cutout, erasing, resizing. uint8 in and out."""

import functools

import numpy as np

from kerasresnet.augment.arrays import Tensor, gather, ops
from kerasresnet.augment.seeds import Seed, below, split, uniform


def take_pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``images[b, rows[b, i, j], columns[b, i, j]]``, and 0 where that lies outside the image.

    `images` [B, H, W, C]; `rows` and `columns` int32 that broadcast to [B, H, W].
    """
    batch, height, width, channels = ops.shape(images)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    first = ops.reshape(ops.arange(batch, dtype="int32") * (height * width), (-1, 1, 1))
    nothing = batch * height * width  # the row of zeros behind the last pixel
    source = ops.where(inside, first + rows * width + columns, nothing)
    pixels = ops.reshape(images, (-1, channels))
    pixels = ops.concatenate([pixels, ops.zeros((1, channels), dtype=images.dtype)], axis=0)
    return ops.reshape(gather(pixels, source), (batch, height, width, channels))


def random_crop(images: Tensor, pad: int, seed: Seed, *, reflect: bool = False) -> Tensor:
    """Each image's own window of the image padded by `pad`: offsets 0…2·pad, both ends.

    The padding is zeros or, to `reflect`, the picture mirrored at its outermost pixels.
    """
    batch, height, width, _ = ops.shape(images)
    offsets = below(2 * pad + 1, uniform((batch, 2), seed)) - pad
    rows = offsets[:, 0, None, None] + ops.arange(height, dtype="int32")[None, :, None]
    columns = offsets[:, 1, None, None] + ops.arange(width, dtype="int32")[None, None, :]
    if reflect:
        rows, columns = _reflected(rows, height), _reflected(columns, width)
    return take_pixels(images, rows, columns)


def _reflected(places: Tensor, length: int) -> Tensor:
    """`places` outside 0…length − 1 mirrored at the first and the last, as often as it takes."""
    last = length - 1
    return last - ops.abs(last - ops.abs(places) % ops.maximum(2 * last, 1))


def random_flip(images: Tensor, seed: Seed) -> Tensor:
    """Mirror left and right, each image with probability 1/2."""
    return flip(images, uniform((ops.shape(images)[0],), seed) < 0.5)


def alternating_flip(images: Tensor, indices: Tensor, epoch: Tensor) -> Tensor:
    """Mirror image i in epoch e where hash(i) + e is even: every second epoch.

    `indices` int [B] are the images' places in the data set, `epoch` an int, one or [B]
    (airbench, arXiv 2404.00498, section 3.6).
    """
    parity = (coin_of(indices) + ops.cast(epoch, "int32")) & 1
    return flip(images, parity == 0)


def coin_of(indices: Tensor) -> Tensor:
    """One well-mixed bit, int32 0 or 1, of each index: a multiply-and-shift integer hash."""
    bits = ops.cast(indices, "int32")
    for multiplier in (0x7FEB352D, -0x7B935975):  # lowbias32's, the second as a signed number
        bits = ops.bitwise_xor(bits, ops.right_shift(bits, 16) & 0xFFFF) * multiplier
    return ops.right_shift(bits, 15) & 1


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images [B, H, W, C] whose `mirrored`, bool [B], is true, left and right."""
    batch, height, width, channels = ops.shape(images)
    column = ops.arange(width, dtype="int32")
    columns = ops.where(mirrored[:, None], width - 1 - column, column)
    line = ops.arange(batch * height, dtype="int32") * width
    source = ops.reshape(line, (batch, height, 1)) + columns[:, None, :]
    pixels = gather(ops.reshape(images, (-1, channels)), source)
    return ops.reshape(pixels, (batch, height, width, channels))


def random_cutout(images: Tensor, size: int, seed: Seed) -> Tensor:
    """Zero a square of `size` pixels around a pixel drawn uniformly, cut at the edges.

    Around pixel y it begins at row y − size // 2, so an even one has one row more before y than
    after it (arXiv 1708.04552 likewise).
    """
    batch, height, width, _ = ops.shape(images)
    draws = uniform((batch, 2), seed)
    top = below(height, draws[:, 0]) - size // 2
    left = below(width, draws[:, 1]) - size // 2
    return _zero_boxes(images, top, left, top + size, left + size)


def random_erase(images: Tensor, p: float, seed: Seed) -> Tensor:
    """Zero a rectangle inside each image with probability `p` (arXiv 1708.04896).

    By torchvision's rule: the area is uniform in 2…33 % of the image, height over width
    log-uniform in 0.3…3.3, and the first of ten draws that is smaller than the image both ways
    counts; where there is none, the image stays as it is.
    """
    size_seed, place_seed = split(seed, 2)
    batch, height, width, _ = ops.shape(images)
    sizes = uniform((batch, 10, 2), size_seed)
    area = (0.02 + 0.31 * sizes[..., 0]) * ops.cast(height * width, "float32")
    ratio = 0.3 * 11.0 ** sizes[..., 1]  # up to 3.3
    rows = ops.cast(ops.round(ops.sqrt(area * ratio)), "int32")
    columns = ops.cast(ops.round(ops.sqrt(area / ratio)), "int32")
    fits = (rows < height) & (columns < width)
    first = ops.argmax(fits, axis=1, keepdims=True)
    rows, columns, fits = (
        ops.take_along_axis(each, first, axis=1)[:, 0] for each in (rows, columns, fits)
    )
    draws = uniform((batch, 3), place_seed)
    rows = ops.where(fits & (draws[:, 0] < p), rows, 0)
    top = below(height - rows + 1, draws[:, 1])
    left = below(width - columns + 1, draws[:, 2])
    return _zero_boxes(images, top, left, top + rows, left + columns)


def _zero_boxes(images: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """The images with zeros in rows `top`…`bottom` − 1, columns `left`…`right` − 1, int32 [B]."""
    _, height, width, _ = ops.shape(images)
    rows = ops.arange(height, dtype="int32")[None, :, None]
    columns = ops.arange(width, dtype="int32")[None, None, :]
    top, left, bottom, right = (each[:, None, None] for each in (top, left, bottom, right))
    cut = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return take_pixels(images, ops.where(cut, -1, rows), columns)


def resize(images: Tensor, size: int) -> Tensor:
    """[B, H, W, C] → [B, size, size, C], as PIL's BILINEAR: a triangle as wide as a new pixel.

    Two matrix products, since every new row is the same mixture of old rows in all images.
    """
    batch, height, width, channels = ops.shape(images)
    rows = _mixture(height, size)
    columns = np.kron(_mixture(width, size).T, np.eye(channels, dtype="float32"))
    lines = ops.reshape(ops.cast(images, "float32"), (batch, height, width * channels))
    lines = ops.reshape(ops.matmul(rows, lines), (batch * size, width * channels))
    pixels = ops.reshape(ops.matmul(lines, columns), (batch, size, size, channels))
    return ops.cast(ops.floor(pixels + 0.5), "uint8")


@functools.cache
def _mixture(old: int, new: int) -> np.ndarray:
    """Float32 [new, old]: the share of every old pixel in each new one, a triangle's weights."""
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centres[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")
