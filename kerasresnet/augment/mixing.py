"""Mixup and CutMix: kernels that mix the images of a batch, and their targets with them.

Why these and not Keras' layers (3.15): `keras.layers.MixUp` mixes rightly, but returns float32,
takes no seed from a pipeline, and its gamma sampler cannot be compiled by XLA on TensorFlow. All of
that holds for `keras.layers.CutMix`, which also draws Beta's parameter itself, uniformly from 0 to
`factor`, where the paper has 1, and targets by the box before it is rounded to pixels: up to 6 % of
a label off on 32×32 images.
"""

from kerasresnet.augment.arrays import Tensor, gather, ops
from kerasresnet.augment.seeds import Seed, below, beta, permutation, split, uniform


def mixup(images: Tensor, targets: Tensor, alpha: float, seed: Seed) -> tuple[Tensor, Tensor]:
    """Each image and label blended with another's of the batch (arXiv 1710.09412).

    `images` uint8 [B, H, W, C] become λ·image + (1 − λ)·other, rounded; `targets` float32
    [B, classes] likewise. Every image draws its own λ ~ Beta(alpha, alpha) where the paper draws
    one for the batch.
    """
    share_seed, partner_seed = split(seed, 2)
    batch = ops.shape(images)[0]
    share = beta((batch,), alpha, share_seed)
    partner = permutation(batch, partner_seed)
    blended = _mix(ops.cast(images, "float32"), partner, share[:, None, None, None])
    return ops.cast(ops.round(blended), "uint8"), _mix(targets, partner, share[:, None])


def cutmix(
    images: Tensor, targets: Tensor, alpha: float, seed: Seed, *, p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Into each image a box of another of the batch, and its share of the label (1905.04899).

    The box has the image's aspect and 1 − λ of its area, λ ~ Beta(alpha, alpha); its centre is
    any pixel, and it is cut at the edges. The targets, float32 [B, classes], are mixed by the
    pixels that were really replaced. Every image draws its own λ and box, and is mixed at all
    with probability `p`.
    """
    share_seed, partner_seed, place_seed, chance_seed = split(seed, 4)
    batch, height, width, channels = ops.shape(images)
    side = ops.sqrt(1.0 - beta((batch,), alpha, share_seed))
    if p < 1.0:
        side = ops.where(uniform((batch,), chance_seed) < p, side, 0.0)
    centre = uniform((batch, 2), place_seed)
    top, bottom = _span(below(height, centre[:, 0]), side, height)
    left, right = _span(below(width, centre[:, 1]), side, width)
    row = ops.arange(height, dtype="int32")[None, :, None]
    column = ops.arange(width, dtype="int32")[None, None, :]
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    partner = permutation(batch, partner_seed)
    own = ops.arange(batch, dtype="int32")
    source = ops.where(inside, partner[:, None, None], own[:, None, None])
    source = (source * height + row) * width + column
    pixels = gather(ops.reshape(images, (-1, channels)), source)
    replaced = ops.cast((bottom - top) * (right - left), "float32")
    replaced = replaced / ops.cast(height * width, "float32")
    share = 1.0 - ops.reshape(replaced, (-1, 1))
    return ops.reshape(pixels, (batch, height, width, channels)), _mix(targets, partner, share)


def _mix(values: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    return share * values + (1.0 - share) * gather(values, partner)


def _span(centre: Tensor, side: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First pixel and the one after the last, int32 [B, 1, 1], of a box cut at the edges."""
    size = ops.cast(side * ops.cast(length, "float32"), "int32")
    first = centre - size // 2
    span = ops.maximum(first, 0), ops.minimum(first + size, length)
    return span[0][:, None, None], span[1][:, None, None]
