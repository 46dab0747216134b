"""The text form of an augmentation policy: what a recipe says, and what it means.

A policy is a list of steps, applied in order; a step is a small frozen dataclass with one
canonical text. A recipe writes ``augment = ["crop", "flip", "randaugment(n=2, m=9)"]``.
Nothing here imports Keras: recipes are read and checked without it.
"""

import ast
import dataclasses
from dataclasses import dataclass

from kerasresnet.errors import UsageError, unknown


@dataclass(frozen=True)
class Crop:
    """Crop a window of the image's own size out of the image padded by `pad` zeros on each side.

    `pad` is in pixels; each axis has 2·pad + 1 offsets, both extremes included.
    """

    pad: int = 4

    def __post_init__(self) -> None:
        _check_integer(self, "pad", minimum=0)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right: each image with probability 1/2, or every second epoch.

    `alternating` flips an image in even or in odd epochs, by a hash of its index, so that two
    successive epochs hold both views (airbench, arXiv 2404.00498, section 3.6).
    """

    alternating: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.alternating, bool):
            raise UsageError(
                f"flip's alternating is true or false. Received: alternating={self.alternating!r}."
            )


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
class AutoAugment:
    """AutoAugment (arXiv 1805.09501): one of a searched policy's 25 sub-policies for each image."""

    policy: str = "cifar10"

    def __post_init__(self) -> None:
        if self.policy not in AUTOAUGMENT_POLICIES:
            raise UsageError(
                f"autoaugment's policy is one of {', '.join(AUTOAUGMENT_POLICIES)}. "
                f"Received: policy={self.policy!r}."
            )


@dataclass(frozen=True)
class Cutout:
    """Zero a square of `size` pixels, centred on any pixel and cut at the edges (1708.04552)."""

    size: int = 8

    def __post_init__(self) -> None:
        _check_integer(self, "size", minimum=1)


@dataclass(frozen=True)
class Mixup:
    """Blend each image and label with another's, λ ~ Beta(alpha, alpha) (arXiv 1710.09412)."""

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check_number(self, "alpha", above=0)


@dataclass(frozen=True)
class CutMix:
    """Paste a box of another image, and its share of the label (arXiv 1905.04899).

    The box's share of the area is 1 − λ, λ ~ Beta(alpha, alpha).
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_number(self, "alpha", above=0)


Step = Crop | Flip | RandAugment | AutoAugment | Cutout | Mixup | CutMix

AUTOAUGMENT_POLICIES = ("cifar10",)
STEPS: dict[str, type[Step]] = {
    step.__name__.lower(): step
    for step in (Crop, Flip, RandAugment, AutoAugment, Cutout, Mixup, CutMix)
}
_SHORT_FORMS = {"randaugment": {"n": "num_ops", "m": "magnitude"}}
_CONSTANTS = {"true": True, "false": False}


def parse_step(text: str) -> Step:
    """The step that a text such as ``"crop"`` or ``"randaugment(n=2, m=9)"`` names.

    Values may also stand without their names, in order: ``"cutout(16)"``.
    Raises `UsageError` for an unknown step, setting or value.
    """
    name, positional, named = _read_call(text)
    if name not in STEPS:
        raise UsageError(unknown("augmentation", name, STEPS))
    fields = [field.name for field in dataclasses.fields(STEPS[name])]
    if len(positional) > len(fields):
        raise UsageError(
            f"{name} takes at most {len(fields)} value(s): {', '.join(fields)}. Received: {text!r}."
        )
    settings = dict(zip(fields, positional, strict=False))
    short_forms = _SHORT_FORMS.get(name, {})
    for key, value in named:
        field = short_forms.get(key, key)
        if field not in fields:
            raise UsageError(unknown(f"setting of {name}", key, fields))
        if field in settings:
            raise UsageError(f"{name}'s {field} is given twice. Received: {text!r}.")
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


def _read_call(text: str) -> tuple[str, list[object], list[tuple[str, object]]]:
    """Split ``name(value, key=value)`` into its name, its plain values and its named ones."""
    wrong_form = UsageError(
        f"An augmentation step reads like 'crop' or 'crop(pad=4)'. Received: {text!r}."
    )
    if not isinstance(text, str):
        raise wrong_form
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise wrong_form from None
    if isinstance(tree, ast.Name):
        return tree.id.lower(), [], []
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise wrong_form
    try:
        positional = [_read_value(node) for node in tree.args]
        named = [(keyword.arg, _read_value(keyword.value)) for keyword in tree.keywords]
    except ValueError:
        raise wrong_form from None
    if any(key is None for key, _ in named):  # crop(**settings)
        raise wrong_form
    return tree.func.id.lower(), positional, named


def _read_value(node: ast.expr) -> object:
    if isinstance(node, ast.Name):
        return _CONSTANTS.get(node.id, node.id)
    return ast.literal_eval(node)


def _check_integer(step: Step, field: str, minimum: int) -> None:
    value = getattr(step, field)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UsageError(
            f"{type(step).__name__.lower()}'s {field} is an integer of at least {minimum}. "
            f"Received: {field}={value!r}."
        )


def _check_number(
    step: Step,
    field: str,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float = float("inf"),
) -> None:
    value = getattr(step, field)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    low_enough = is_number and value <= maximum and value != float("inf")
    high_enough = is_number and (value >= minimum if above is None else value > above)
    if not (low_enough and high_enough):
        low = f"above {above}" if above is not None else f"at least {minimum}"
        high = f" and at most {maximum}" if maximum != float("inf") else ""
        raise UsageError(
            f"{type(step).__name__.lower()}'s {field} is a number {low}{high}. "
            f"Received: {field}={value!r}."
        )
