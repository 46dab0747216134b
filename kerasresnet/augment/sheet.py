"""A contact sheet: every operation at three strengths, and whole policies, on given images."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasresnet.augment.apply import Draws, amounts, apply_draws
from kerasresnet.augment.operations import CODE, OPERATIONS
from kerasresnet.augment.pipeline import build_augmentation

LEVELS, TOP = (5, 15, 30), 30  # of RandAugment's 31 bins
PICTURES = 3  # for each level
COLUMNS = PICTURES * (1 + len(LEVELS))
POLICIES = (
    ("crop",),
    ("flip",),
    ("cutout",),
    ("erase(p=1)",),
    ("randaugment(magnitude=5)",),
    ("randaugment",),
    ("randaugment(magnitude=14)",),
    ("trivialaugment",),
    ("autoaugment",),
    ("crop", "flip", "autoaugment"),
    ("mixup",),
    ("cutmix",),
)

_SIDE, _GAP, _LABEL, _HEADING = 64, 2, 200, 36  # pixels
_INK, _FAINT, _PAPER = (30, 30, 30), (120, 120, 120), (255, 255, 255)


class Row(NamedTuple):
    name: str
    detail: str
    pictures: np.ndarray  # uint8 [COLUMNS, H, W, C]


class Section(NamedTuple):
    headings: Sequence[str]  # evenly spaced over the columns
    rows: Sequence[Row]


def draw_sheet(
    images: np.ndarray, *, policies: Sequence[Sequence[str]] = POLICIES, seed: int = 0
) -> Image.Image:
    """The sheet of `images`, uint8 [COLUMNS, H, W, 3 or 1]; `policies` are lists of step texts.

    The operations are shown on the first `PICTURES` images, mirrored ones alternately.
    """
    levels = [f"level {level} of {TOP}" for level in LEVELS]
    operations = Section(["original", *levels], operation_rows(images[:PICTURES]))
    policy_section = Section(
        ["policies, each image once"],
        [Row("original", "", images), *policy_rows(images, policies, seed)],
    )
    return _paint([operations, policy_section])


def operation_rows(images: np.ndarray) -> list[Row]:
    """One row an operation: the images as they are, then at each of `LEVELS`."""
    count = len(images)
    shown = np.tile(images, (len(LEVELS), 1, 1, 1))
    level = np.repeat(np.array(LEVELS, "float32"), count)[:, None]
    mirror = np.arange(len(shown))[:, None] % 2 == 1
    rows = []
    for name, operation in OPERATIONS.items():
        draws = Draws(np.full(level.shape, CODE[name], "int32"), level, mirror)
        result = keras.ops.convert_to_numpy(apply_draws(shown, draws, top=TOP))
        plain = draws._replace(mirror=np.zeros_like(mirror))
        each = keras.ops.convert_to_numpy(amounts(plain, top=TOP))[::count, 0]
        numbers = " ".join(f"{amount:.3g}" for amount in each)
        detail = f"{numbers} {operation.unit}" if operation.unit else ""
        rows.append(Row(name, detail, np.concatenate([images, result])))
    return rows


def policy_rows(images: np.ndarray, policies: Sequence[Sequence[str]], seed: int) -> list[Row]:
    """One row a policy, every image augmented once."""
    return [
        Row(" ".join(policy), "", augmented(images, policy, seed, number))
        for number, policy in enumerate(policies)
    ]


def augmented(images: np.ndarray, policy: Sequence[str], seed: int, epoch: int = 0) -> np.ndarray:
    """What `policy` makes of the images in that epoch, each augmented once."""
    targets = np.zeros((len(images), 1), "float32")
    identity = {"indices": np.arange(len(images)), "epoch": epoch}
    pictures, _ = build_augmentation(policy)(images, targets, (seed, epoch), **identity)
    return keras.ops.convert_to_numpy(pictures)


def _paint(sections: Sequence[Section]) -> Image.Image:
    step = _SIDE + _GAP
    height = sum(_HEADING + len(section.rows) * step for section in sections)
    sheet = Image.new("RGB", (_LABEL + COLUMNS * step, height), _PAPER)
    draw, large, small = ImageDraw.Draw(sheet), *map(ImageFont.load_default, (14, 10))
    top = 0
    for section in sections:
        for number, text in enumerate(section.headings):
            left = _LABEL + number * COLUMNS // len(section.headings) * step
            draw.text((left, top + _HEADING // 3), text, _INK, large)
        top += _HEADING
        for row in section.rows:
            draw.text((6, top + 16), row.name, _INK, large if len(row.name) < 27 else small)
            draw.text((6, top + 36), row.detail, _FAINT, small)
            for column, picture in enumerate(row.pictures):
                sheet.paste(_thumbnail(picture), (_LABEL + column * step, top))
            top += step
    return sheet


def _thumbnail(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
    return image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
