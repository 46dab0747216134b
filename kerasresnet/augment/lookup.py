"""Autocontrast and equalize: a table for each image and channel from its histogram, one gather.

The tables are those of PIL's `ImageOps`. Images are below 2²² pixels.
"""

from kerasresnet.augment.arrays import Tensor, gather, on_tensorflow, ops
from kerasresnet.augment.operations import CODE


def look_up(images: Tensor, operation: Tensor, _: Tensor) -> Tensor:
    """Each image, uint8 [n, H, W, C], through the tables of its operation, a code in int32 [n]."""
    batch, _, _, channels = ops.shape(images)
    first = ops.reshape(ops.arange(batch * channels, dtype="int32") * 256, (batch, 1, 1, channels))
    entries = ops.cast(images, "int32") + first
    counts = ops.segment_sum(
        ops.ones_like(ops.reshape(entries, (-1,))),
        ops.reshape(entries, (-1,)),
        num_segments=batch * channels * 256,
    )
    counts = ops.reshape(counts, (batch, channels, 256))
    equalized = (operation == CODE["Equalize"])[:, None, None]
    tables = ops.where(equalized, equalize_tables(counts), autocontrast_tables(counts))
    return gather(ops.cast(ops.reshape(tables, (-1,)), "uint8"), entries)


def autocontrast_tables(counts: Tensor) -> Tensor:
    """Stretch each channel linearly to 0…255: int32 [n, C, 256] from such histograms.

    PIL computes in float64, and in 0.4 % of all (darkest, lightest, level) that falls just short
    of a whole number and ends one level lower. TensorFlow does the same. XLA rounds otherwise,
    and JAX, where float64 is off by default, gets the exact result: there it may be one level more.
    """
    darkest, lightest = _first(counts > 0), _last(counts > 0)
    levels = ops.arange(256, dtype="int32")
    spread = ops.maximum(lightest - darkest, 1)
    if on_tensorflow():
        scale = 255.0 / ops.cast(spread, "float64")
        stretched = ops.cast(levels, "float64") * scale - ops.cast(darkest, "float64") * scale
        stretched = ops.cast(stretched, "int32")  # towards zero, as PIL
    else:
        stretched = _divide((levels - darkest) * 255, spread)
    return ops.where(lightest > darkest, ops.clip(stretched, 0, 255), levels)


def equalize_tables(counts: Tensor) -> Tensor:
    """Spread each channel's levels evenly over 0…255: int32 [n, C, 256] from such histograms."""
    below = ops.cumsum(counts, axis=-1) - counts  # pixels darker than each level
    step = ops.take_along_axis(below, _last(counts > 0), axis=-1) // 255
    spread = _divide(step // 2 + below, ops.maximum(step, 1))
    return ops.where(step > 0, ops.minimum(spread, 255), ops.arange(256, dtype="int32"))


def _first(occurs: Tensor) -> Tensor:
    return ops.cast(ops.argmax(occurs, axis=-1, keepdims=True), "int32")


def _last(occurs: Tensor) -> Tensor:
    return 255 - _first(ops.flip(occurs, axis=-1))


def _divide(dividend: Tensor, divisor: Tensor) -> Tensor:
    """Whole-number division, by a float32 one, which is much faster; exact below 2²²."""
    quotient = (ops.cast(dividend, "float32") + 0.5) / ops.cast(divisor, "float32")
    return ops.cast(ops.floor(quotient), "int32")
