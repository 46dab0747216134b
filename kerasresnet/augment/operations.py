"""The operations that RandAugment and AutoAugment draw from, with their ranges.

Names and ranges are torchvision's: AutoAugment's own (arXiv 1805.09501, table 6), with its
translations of 150 of 331 pixels scaled to the image. An operation's amount goes in a straight
line from `weakest` at level 0 to `strongest` at the top level.
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

CODE = {name: code for code, name in enumerate(OPERATIONS)}
