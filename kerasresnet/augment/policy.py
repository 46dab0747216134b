"""The text form of an augmentation policy: what a recipe says, and what it means.

A policy is a list of steps, applied in order; a step is a small frozen dataclass with one
canonical text. A recipe writes ``augment = ["crop", "flip", "randaugment(n=2, m=9)"]``; on a
command line ``randaugment:n=2:m=9`` says the same and needs no quotes.
Nothing here imports Keras: recipes are read and checked without it.
"""

import contextlib
import dataclasses
import re
from dataclasses import dataclass
from typing import get_args

from kerasresnet.errors import UsageError, unknown


@dataclass(frozen=True)
class Crop:
    """Crop a window of the image's own size out of the image padded by `pad` on each side.

    `pad` is in pixels; each axis has 2·pad + 1 offsets, both extremes included. The padding is
    zeros or, with `reflect`, the picture mirrored at its border, as in arXiv 2404.00498.
    """

    pad: int = 4
    reflect: bool = False

    def __post_init__(self) -> None:
        _check_integer(self, "pad", minimum=0)
        _check_truth(self, "reflect")


@dataclass(frozen=True)
class Flip:
    """Mirror left and right: each image with probability 1/2, or every second epoch.

    `alternating` flips an image in even or in odd epochs, by a hash of its index, so that two
    successive epochs hold both views (airbench, arXiv 2404.00498, section 3.6).
    """

    alternating: bool = False

    def __post_init__(self) -> None:
        _check_truth(self, "alternating")


@dataclass(frozen=True)
class RandAugment:
    """RandAugment (arXiv 1909.13719): `num_ops` operations for each image, one strength for all.

    `magnitude` counts in levels 0…num_bins − 1; `std` is the standard deviation, in levels, of a
    normal jitter that each image and operation draws (clipped to the levels), 0 for none.
    """

    num_ops: int = 2
    magnitude: float = 9
    num_bins: int = 31
    std: float = 0.0

    def __post_init__(self) -> None:
        _check_integer(self, "num_ops", minimum=1)
        _check_integer(self, "num_bins", minimum=2)
        _check_number(self, "magnitude", minimum=0, maximum=self.num_bins - 1)
        _check_number(self, "std", minimum=0)


@dataclass(frozen=True)
class TrivialAugment:
    """TrivialAugment, wide (arXiv 2103.10158): one operation and strength for each image.

    Both are drawn uniformly, so there is nothing to set.
    """


@dataclass(frozen=True)
class AutoAugment:
    """AutoAugment (arXiv 1805.09501): one of a searched policy's 25 sub-policies for each image."""

    policy: str = "cifar10"

    def __post_init__(self) -> None:
        if self.policy not in AUTOAUGMENT_POLICIES:
            raise UsageError(
                f"autoaugment's policy is one of {', '.join(AUTOAUGMENT_POLICIES)}, "
                f"received policy={self.policy!r}"
            )


@dataclass(frozen=True)
class Cutout:
    """Zero a square of `size` pixels, centred on any pixel and cut at the edges (1708.04552)."""

    size: int = 8

    def __post_init__(self) -> None:
        _check_integer(self, "size", minimum=1)


@dataclass(frozen=True)
class Erase:
    """Zero a random rectangle inside the image with probability `p` (arXiv 1708.04896)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_number(self, "p", minimum=0, maximum=1)


@dataclass(frozen=True)
class Mixup:
    """Blend each image and label with another's, λ ~ Beta(alpha, alpha) (arXiv 1710.09412)."""

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_number(self, "alpha", above=0)


@dataclass(frozen=True)
class CutMix:
    """Paste a box of another image, and its share of the label (arXiv 1905.04899).

    The box's share of the area is 1 − λ, λ ~ Beta(alpha, alpha); an image is mixed with
    probability `p` (the paper's own runs on CIFAR have 0.5).
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        _check_number(self, "alpha", above=0)
        _check_number(self, "p", minimum=0, maximum=1)


Step = Crop | Flip | RandAugment | TrivialAugment | AutoAugment | Cutout | Erase | Mixup | CutMix

AUTOAUGMENT_POLICIES = ("cifar10",)
STEPS: dict[str, type[Step]] = {step.__name__.lower(): step for step in get_args(Step)}
_SHORT_FORMS = {"randaugment": {"n": "num_ops", "m": "magnitude"}}
_CONSTANTS = {"true": True, "false": False}
_LARGEST = 10_000  # of any number: what is made of it fits int32, and its text is short
_LONGEST = 200  # characters
_CALL = re.compile(r"(\w+)\s*(?:\(\s*(.*?)\s*\)|:(.*))?", re.DOTALL)  # crop(pad=4), crop:pad=4
_SETTING = re.compile(r"(?:(\w+)\s*=\s*)?([\w.+-]+|'\w*'|\"\w*\")")  # pad=4, 4


def parse_step(text: str) -> Step:
    """The step that a text such as ``"crop"`` or ``"randaugment(n=2, m=9)"`` names.

    ``"randaugment:n=2:m=9"`` is the same. Values may also stand without their names, in order:
    ``"cutout(16)"``. Raises `UsageError` for an unknown step, setting or value.
    """
    name, given = _read_call(text)
    if name not in STEPS:
        raise UsageError(unknown("augmentation", name, STEPS))
    fields = [field.name for field in dataclasses.fields(STEPS[name])]
    if given and not fields:
        raise UsageError(f"{name} takes no values, received {text!r}")
    short_forms = _SHORT_FORMS.get(name, {})
    settings = {}
    for place, (key, value) in enumerate(given):
        if not key and place >= len(fields):
            raise UsageError(
                f"{name} takes at most {len(fields)} value(s): {', '.join(fields)}, "
                f"received {text!r}"
            )
        field = short_forms.get(key, key) if key else fields[place]
        if field not in fields:
            raise UsageError(unknown(f"setting of {name}", key, fields))
        if field in settings:
            raise UsageError(f"{name}'s {field} is given twice, received {text!r}")
        settings[field] = value
    return STEPS[name](**settings)


def step_text(step: Step) -> str:
    """The canonical text of a step, defaults left out; `parse_step` reads it back."""
    settings = [
        f"{field.name}={_value_text(value)}"
        for field in dataclasses.fields(step)
        if (value := getattr(step, field.name)) != field.default
    ]
    name = type(step).__name__.lower()
    return f"{name}({', '.join(settings)})" if settings else name


def _value_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _read_call(text: str) -> tuple[str, list[tuple[str | None, object]]]:
    """Split ``name(value, key=value)`` into its name and its pairs (key or None, value).

    The grammar knows no nesting, so that no text can exhaust the stack or the memory.
    """
    if isinstance(text, str) and len(text) > _LONGEST:
        raise UsageError(
            f"an augmentation step has at most {_LONGEST} characters, "
            f"received {len(text)}, the first of them {text[:20]!r}"
        )
    call = _CALL.fullmatch(text.strip()) if isinstance(text, str) else None
    if call:
        name, inside, behind = call.groups()
        parts = inside.split(",") if inside else behind.split(":") if behind is not None else []
        settings = [_SETTING.fullmatch(part.strip()) for part in parts]
        if all(settings):
            return name.lower(), [(each[1], _read_value(each[2])) for each in settings]
    raise UsageError(
        f"an augmentation step reads like 'crop', 'crop(pad=4)' or 'crop:pad=4', received {text!r}"
    )


def _read_value(text: str) -> object:
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return _CONSTANTS.get(text.lower(), text.strip("'\""))


def _check_integer(step: Step, field: str, minimum: int) -> None:
    value = getattr(step, field)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not (is_integer and minimum <= value <= _LARGEST):
        raise UsageError(
            f"{type(step).__name__.lower()}'s {field} is an integer of at least {minimum} and at "
            f"most {_LARGEST}, received {field}={value!r}"
        )


def _check_truth(step: Step, field: str) -> None:
    value = getattr(step, field)
    if not isinstance(value, bool):
        raise UsageError(
            f"{type(step).__name__.lower()}'s {field} is true or false, received {field}={value!r}"
        )


def _check_number(
    step: Step,
    field: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float = _LARGEST,
) -> None:
    value = getattr(step, field)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    high_enough = is_number and (value >= minimum if above is None else value > above)
    if not (high_enough and value <= maximum):
        low = f"above {above}" if above is not None else f"at least {minimum}"
        raise UsageError(
            f"{type(step).__name__.lower()}'s {field} is a number {low} and at most {maximum}, "
            f"received {field}={value!r}"
        )
