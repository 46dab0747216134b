"""TrivialAugment in its wide form (arXiv 2103.10158): what every image draws."""

from kerasresnet.augment.apply import Draws
from kerasresnet.augment.arrays import gather, ops
from kerasresnet.augment.randaugment import CODES
from kerasresnet.augment.seeds import Seed, below, uniform

TOP_LEVEL = 30  # 31 levels


def draw_trivialaugment(batch: int, seed: Seed) -> Draws:
    """One of RandAugment's 14 operations for each of `batch` images, at one of the 31 levels.

    Each operation is as likely, and so is each level; every second amount is mirrored. The levels
    are those of `WIDE_OPERATIONS`.
    """
    draws = uniform((batch, 1, 3), seed)
    operation = gather(CODES, below(len(CODES), draws[..., 0]))
    level = ops.cast(below(TOP_LEVEL + 1, draws[..., 1]), "float32")
    return Draws(operation, level, mirror=draws[..., 2] < 0.5)
