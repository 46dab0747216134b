"""Posterize, solarize and invert: level by level, in two bitwise operations on uint8."""

from kerasresnet.augment.arrays import Tensor, ops
from kerasresnet.augment.operations import CODE


def cut_bits(images: Tensor, operation: Tensor, amount: Tensor) -> Tensor:
    """Keep the upper bits, or invert the levels from a threshold on, or all; as PIL's `ImageOps`.

    `images` uint8 [n, H, W, C]; `operation` int32 [n], the code of one of the three; `amount`
    float32 [n], the bits kept or the threshold.
    """
    posterize = operation == CODE["Posterize"]
    dropped = ops.where(posterize, 8 - ops.cast(ops.round(amount), "int32"), 0)
    mask = 256 - ops.left_shift(ops.ones_like(dropped), dropped)
    threshold = ops.where(operation == CODE["Solarize"], ops.ceil(amount), 0.0)
    inverting = ops.where(posterize, 0, 255)
    mask, threshold, inverting = (
        ops.cast(each, "uint8")[:, None, None, None] for each in (mask, threshold, inverting)
    )
    inverted = ops.cast(images >= threshold, "uint8") * inverting
    return ops.bitwise_and(ops.bitwise_xor(images, inverted), mask)
