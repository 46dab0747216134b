"""Operations on a batch in which every image has its own, each with its own strength."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kerasresnet.augment.arrays import Tensor, gather, ops, route
from kerasresnet.augment.bits import cut_bits
from kerasresnet.augment.blend import blend_with_grey, blend_with_level, blend_with_smooth
from kerasresnet.augment.lookup import look_up
from kerasresnet.augment.operations import OPERATIONS, Operation
from kerasresnet.augment.warp import warp

KERNELS = {
    "none": lambda images, operation, amount: images,
    "warp": warp,
    "bits": cut_bits,
    "lookup": look_up,
    "level": blend_with_level,
    "grey": blend_with_grey,
    "smooth": blend_with_smooth,
}
_KERNEL_OF = np.array([list(KERNELS).index(each.kernel) for each in OPERATIONS.values()], "int32")
_MIRRORED = np.array([each.mirrored for each in OPERATIONS.values()])


def _whole_numbers(operation: Operation) -> tuple[int, int, int]:
    """`weakest` and the way to `strongest` over a common denominator, and that denominator."""
    way = operation.strongest - operation.weakest
    return operation.weakest * way.denominator, way.numerator, way.denominator


class Draws(NamedTuple):
    """What every image of a batch is to get: `slots` operations, one after the other."""

    operation: Tensor  # int32 [B, slots], codes of `OPERATIONS`
    level: Tensor  # float32 [B, slots], 0…top
    mirror: Tensor  # bool [B, slots], whether a mirrored operation goes the other way


def apply_draws(
    images: Tensor, draws: Draws, *, top: int, operations: Mapping[str, Operation] = OPERATIONS
) -> Tensor:
    """The images, uint8 [B, H, W, C], after their operations; `top` is the top level.

    `operations` are `OPERATIONS`, or the same with other ranges.
    """
    amount = amounts(draws, top=top, operations=operations)
    kernel = gather(_KERNEL_OF, draws.operation)
    for slot in range(draws.operation.shape[1]):
        of_slot = (each[:, slot] for each in (draws.operation, amount))
        images = route(tuple(KERNELS.values()), kernel[:, slot], images, *of_slot)
    return images


def amounts(draws: Draws, *, top: int, operations: Mapping[str, Operation] = OPERATIONS) -> Tensor:
    """The amount, float32 [B, slots], of each operation at its level, in the operation's unit.

    Whole numbers are divided once, so a whole level gives the float32 nearest to the exact value.
    """
    lines = np.array([_whole_numbers(each) for each in operations.values()], "float32")
    weakest, way, denominator = ops.unstack(gather(lines, draws.operation), 3, axis=-1)
    way = ops.where(gather(_MIRRORED, draws.operation) & draws.mirror, -way, way)
    return (weakest * top + way * draws.level) / (denominator * top)
