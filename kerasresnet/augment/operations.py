"""The operations that RandAugment, AutoAugment and TrivialAugment draw from, with their ranges.

Names and ranges are torchvision's: AutoAugment's own (arXiv 1805.09501, table 6), and the wide ones
of TrivialAugment (arXiv 2103.10158). Translations are scaled to the image: AutoAugment's
150 of 331 pixels, and TrivialAugment's 32 of CIFAR-10's 32, the whole side, where torchvision goes
by 32 pixels at any size. An operation's amount goes in a straight line from `weakest` at level 0 to
`strongest` at the top level.
"""

from fractions import Fraction
from typing import NamedTuple


class Operation(NamedTuple):
    kernel: str  # of `apply.KERNELS`
    weakest: Fraction | int
    strongest: Fraction | int
    mirrored: bool  # whether every second image goes from `weakest` the other way
    unit: str


_NOTHING = (0, 0, False, "")
_SLOPE = (0, Fraction(3, 10), True, "tangent of the angle")
_SHIFT = (0, Fraction(150, 331), True, "share of the side")
_FACTOR = (1, Fraction(19, 10), True, "factor")

OPERATIONS = {
    "Identity": Operation("none", *_NOTHING),
    "ShearX": Operation("warp", *_SLOPE),
    "ShearY": Operation("warp", *_SLOPE),
    "TranslateX": Operation("warp", *_SHIFT),
    "TranslateY": Operation("warp", *_SHIFT),
    "Rotate": Operation("warp", 0, 30, True, "degrees, anticlockwise"),
    "Brightness": Operation("level", *_FACTOR),
    "Color": Operation("grey", *_FACTOR),
    "Contrast": Operation("level", *_FACTOR),
    "Sharpness": Operation("smooth", *_FACTOR),
    "Posterize": Operation("bits", 8, 4, False, "bits kept, rounded"),
    "Solarize": Operation("bits", 255, 0, False, "lowest level that is inverted"),
    "AutoContrast": Operation("lookup", *_NOTHING),
    "Equalize": Operation("lookup", *_NOTHING),
    "Invert": Operation("bits", *_NOTHING),
}

_WIDE = {
    **dict.fromkeys(("ShearX", "ShearY"), Fraction(99, 100)),
    **dict.fromkeys(("TranslateX", "TranslateY"), 1),
    **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), Fraction(199, 100)),
    "Rotate": 135,
    "Posterize": 2,
}
WIDE_OPERATIONS = {
    name: operation._replace(strongest=_WIDE.get(name, operation.strongest))
    for name, operation in OPERATIONS.items()
}

CODE = {name: code for code, name in enumerate(OPERATIONS)}
