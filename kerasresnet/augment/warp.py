"""Shear, translate and rotate: one gather with an affine map of its own for each image.

Nearest neighbour in PIL's own 16.16 fixed-point arithmetic, so the pixels are PIL's pixels.
"""

import math

from kerasresnet.augment.arrays import Tensor, ops
from kerasresnet.augment.geometry import take_pixels
from kerasresnet.augment.operations import CODE

_ONE = 1 << 16  # 1.0 in fixed point


def warp(images: Tensor, operation: Tensor, amount: Tensor) -> Tensor:
    """Each image sheared, translated or rotated; zeros come in from outside.

    `images` uint8 [n, H, W, C]; `operation` int32 [n], a code of shear, translation or rotation;
    `amount` float32 [n] in the operation's unit. Shears keep the top left corner in place,
    rotations the centre, as in AutoAugment's code and torchvision. Images are below 32,768
    pixels a side.
    """
    _, height, width, _ = ops.shape(images)

    def amount_of(name: str) -> Tensor:
        return ops.where(operation == CODE[name], amount, 0.0)

    angle = amount_of("Rotate") * (math.pi / 180)
    sine, one_minus_cosine = ops.sin(angle), 2 * ops.square(ops.sin(angle / 2))
    # Where the centre of the top left pixel comes from; the forms keep small angles exact.
    width, height = ops.cast(width, "float32"), ops.cast(height, "float32")
    x = 0.5 + (width - 1) / 2 * one_minus_cosine + (height - 1) / 2 * sine
    y = 0.5 + (height - 1) / 2 * one_minus_cosine - (width - 1) / 2 * sine
    x += amount_of("ShearX") / 2 - ops.trunc(amount_of("TranslateX") * width)
    y += amount_of("ShearY") / 2 - ops.trunc(amount_of("TranslateY") * height)
    columns = _source(
        x, along_columns=1 - one_minus_cosine, along_rows=amount_of("ShearX") - sine, images=images
    )
    rows = _source(
        y, along_columns=amount_of("ShearY") + sine, along_rows=1 - one_minus_cosine, images=images
    )
    return take_pixels(images, rows, columns)


def _source(start: Tensor, along_columns: Tensor, along_rows: Tensor, images: Tensor) -> Tensor:
    """The source coordinate int32 [n, H, W] of every pixel, rounded down."""
    _, height, width, _ = ops.shape(images)
    row = ops.arange(height, dtype="int32")[None, :, None]
    column = ops.arange(width, dtype="int32")[None, None, :]
    start, along_columns, along_rows = (
        ops.cast(ops.floor(value * _ONE + 0.5), "int32")[:, None, None]
        for value in (start, along_columns, along_rows)
    )
    return ops.right_shift((start + row * along_rows) + column * along_columns, 16)
