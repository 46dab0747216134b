"""RandAugment (arXiv 1909.13719): what every image draws."""

import numpy as np

from kerasresnet.augment.apply import Draws
from kerasresnet.augment.arrays import gather, ops
from kerasresnet.augment.operations import CODE
from kerasresnet.augment.seeds import Seed, below, normal, split, uniform

RANDAUGMENT_OPERATIONS = tuple(name for name in CODE if name != "Invert")
CODES = np.array([CODE[name] for name in RANDAUGMENT_OPERATIONS], "int32")


def draw_randaugment(
    batch: int, seed: Seed, *, num_ops: int, magnitude: float, top: int, std: float
) -> Draws:
    """`num_ops` of the 14 operations for each of `batch` images, with repetition, each as likely.

    Every level is `magnitude`, plus normal noise of `std` levels, within 0…`top`; every second
    amount is mirrored.
    """
    choice_seed, level_seed = split(seed, 2)
    shape = (batch, num_ops)
    draws = uniform((*shape, 2), choice_seed)
    level = ops.full(shape, magnitude, dtype="float32")
    if std > 0:
        level = ops.clip(level + std * normal(shape, level_seed), 0.0, float(top))
    operation = gather(CODES, below(len(CODES), draws[..., 0]))
    return Draws(operation, level, mirror=draws[..., 1] < 0.5)
