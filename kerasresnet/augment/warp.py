"""Shear, translate and rotate: one gather with an affine map of its own for each image.

Nearest neighbour in PIL's own 16.16 fixed-point arithmetic, so the pixels are PIL's pixels. PIL
computes the map in float64, and so does TensorFlow here; JAX, where float64 is off by default,
computes it in float32, which from about 64 pixels a side on can end at the pixel beside it.
"""

import math

from kerasresnet.augment.arrays import Tensor, on_tensorflow, ops
from kerasresnet.augment.geometry import take_pixels
from kerasresnet.augment.operations import CODE

_ONE = 1 << 16  # 1.0 in fixed point


def warp(images: Tensor, operation: Tensor, amount: Tensor) -> Tensor:
    """Each image sheared, translated or rotated; zeros come in from outside.

    `images` uint8 [n, H, W, C]; `operation` int32 [n], a code of shear, translation or rotation;
    `amount` float32 [n] in the operation's unit. Shears keep the top left corner in place,
    rotations the centre, as in AutoAugment's code and torchvision. Images are below 16,384
    pixels a side.
    """
    _, height, width, _ = ops.shape(images)
    precise = "float64" if on_tensorflow() else "float32"

    def amount_of(name: str) -> Tensor:
        return ops.where(operation == CODE[name], amount, 0.0)

    def pixels_of(name: str, side: int) -> Tensor:
        return ops.trunc(amount_of(name) * ops.cast(side, "float32"))  # rounds 0.7 · 40 to 28

    shear_x, shear_y, shift_x, shift_y, angle = (
        ops.cast(each, precise)
        for each in (
            amount_of("ShearX"),
            amount_of("ShearY"),
            pixels_of("TranslateX", width),
            pixels_of("TranslateY", height),
            amount_of("Rotate"),
        )
    )
    angle = angle * (math.pi / 180)
    sine, one_minus_cosine = ops.sin(angle), 2 * ops.square(ops.sin(angle / 2))
    # Where the centre of the top left pixel comes from; the forms keep small angles exact.
    right, bottom = ops.cast(width - 1, precise), ops.cast(height - 1, precise)
    x = 0.5 + right / 2 * one_minus_cosine + bottom / 2 * sine + shear_x / 2 - shift_x
    y = 0.5 + bottom / 2 * one_minus_cosine - right / 2 * sine + shear_y / 2 - shift_y
    cosine = 1 - one_minus_cosine
    columns = _source(x, along_columns=cosine, along_rows=shear_x - sine, images=images)
    rows = _source(y, along_columns=shear_y + sine, along_rows=cosine, images=images)
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
