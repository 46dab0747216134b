"""What a search may choose by default, and how that is narrowed.

Dimensions are declared up front, and each can be fixed or narrowed: `blocks.2=1,2`,
`conv_kernel=3`, `sgd.learning_rate=0.05..0.2`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kerasresnet.augment.policy import parse_step
from kerasresnet.errors import UsageError, unknown
from kerasresnet.network.spec import ResNetSpec, StackSpec
from kerasresnet.recipe import Recipe
from tuning.search.space.dimension import Dimension, choice, narrowed, span
from tuning.search.space.network import CONV, WHITEN

NONE = "none"
AVERAGES = (NONE, "ema", "lookahead")
_PLAIN = Recipe(spec=ResNetSpec(stacks=(StackSpec(),)), epochs=1)  # where no base is told

# What each optimizer is searched with: its own rates, and the settings that go with it.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "decay": "decoupled"},
    "convmuon": {"momentum": 0.8, "nesterov": True, "decay": "decoupled"},
    "adamw": {"momentum": 0.9, "nesterov": False, "decay": "decoupled"},
}
_RATES = {
    "sgd": (
        span("learning_rate", 0.05, 1.0),
        span("weight_decay", 1e-4, 1e-2),
        choice("norm_rate", 1.0, 8.0, 64.0),
    ),
    "convmuon": (
        span("learning_rate", 0.01, 0.2),
        span("weight_decay", 1e-4, 1e-1),
        choice("norm_rate", 4.0, 8.0, 24.0),
    ),
    "adamw": (
        span("learning_rate", 3e-4, 1e-2),
        span("weight_decay", 1e-3, 1e-1),
        choice("norm_rate", 1.0, 4.0),
    ),
}
NORM_RATE = {"convmuon": 8.0}  # what an optimizer has where a recipe says nothing; others: 1


def default_dimensions(
    stacks: Iterable[int] = (2, 3, 4), base: Recipe = _PLAIN
) -> dict[str, Dimension]:
    """Every dimension by name, parents first; a stack's own exist where there is such a stack.

    Whitening stems and small images are among the values where `base` can have them.
    """
    numbers = tuple(stacks)
    found = [choice("stacks", *numbers)]
    for i in range(1, max(numbers) + 1):
        there = {"parent": "stacks", "when": tuple(n for n in numbers if n >= i)}
        found += [
            choice(f"block.{i}", "BB", "BN", **there),
            choice(f"blocks.{i}", 1, 2, 3, 4, **there),
        ]
        if i > 1:  # channels that stack i puts out, in units of those of the stack before
            found += [choice(f"growth.{i}", 1.0, 1.5, 2.0, 2.5, **there)]
    found += [
        choice("first_stride", 1, 2),
        choice("down", "stride", "maxpool"),
        choice("conv_kernel", 3, 5),
        choice("shortcut_kernel", 1, 3),
        choice("stem", *_stems(base.spec)),
        choice("stem_kernel", 3, 5, parent="stem", when=(CONV,)),
        # channels of the stem, in units of what stack 1 puts out
        choice("stem_width", 0.5, 1.0, parent="stem", when=(CONV,)),
        choice("optimizer", *OPTIMIZERS),
    ]
    for name in OPTIMIZERS:
        theirs = {"parent": "optimizer", "when": (name,)}
        found += [replace(rate, name=f"{name}.{rate.name}", **theirs) for rate in _RATES[name]]
    found += [
        choice("norm_momentum", 0.6, 0.8, 0.9),
        choice("average", *AVERAGES),
        choice("ema", 0.98, 0.99, 0.995, parent="average", when=("ema",)),
        choice("lookahead", 5, 10, parent="average", when=("lookahead",)),
        choice("schedule", "one_cycle", "cosine"),
        choice("resolution", *_resolutions(base)),
        choice("randaugment", 0, 3, 6, 9, 12),  # its magnitude, after the base's own steps; 0: none
        choice("label_smoothing", 0.0, 0.05, 0.1, 0.2),
    ]
    return {dimension.name: dimension for dimension in found}


def _stems(spec: ResNetSpec) -> tuple[str, ...]:
    whitening = (f"{WHITEN}{k}" for k in (2, 3))  # has stride 1, always
    return (CONV, *whitening) if spec.stem_stride == 1 else (CONV,)


def _resolutions(base: Recipe) -> tuple[str, ...]:
    """No schedule, then one that begins at three quarters of the size, then the base's own.

    A + stands for the comma of a recipe, which separates values here.
    """
    height, width, _ = base.spec.input_shape
    if height != width or height < 16 or base.spec.pool != "global":
        return (NONE,)
    small = f"{round(0.75 * height)}:0.5+{round(0.875 * height)}:0.25+{height}:0.25"
    return tuple(dict.fromkeys((NONE, small, schedule_text(base.resolution))))


def schedule_text(resolution: str | None) -> str:
    """A recipe's resolution as a value of its dimension: "24:0.5+32:0.5", or "none"."""
    return NONE if resolution is None else resolution.replace(" ", "").replace(",", "+")


def narrow(changes: Mapping[str, Any], base: Recipe = _PLAIN) -> dict[str, Dimension]:
    """The default dimensions of `base` with some fixed or narrowed.

    A key is a dimension (`blocks.2`) or a family of them (`blocks`), and a member's own values win
    over its family's; a value is one value, a list, or text such as "1,2" and "0.05..0.2". What
    exists only beside values that are left out (an optimizer's rates) is left out too.
    Raises `UsageError` for an unknown dimension, a value that no network or recipe can have, or one
    that leaves nothing.
    """
    changes = dict(changes)
    numbers = narrowed(choice("stacks", 2, 3, 4), changes.pop("stacks", (2, 3, 4))).values
    if not all(1 <= number <= 16 for number in numbers):
        raise UsageError(f"stacks are 1 to 16, received {', '.join(map(str, numbers))}")
    dimensions = default_dimensions(numbers, base)
    for key in sorted(changes, key=lambda key: key.count(".")):  # a family before its members
        members = [name for name in dimensions if key in (name, family(name))]
        if not members:
            known = dict.fromkeys([*map(family, dimensions), *dimensions])
            raise UsageError(unknown("dimension", key, known))
        for name in members:
            dimensions[name] = narrowed(dimensions[name], changes[key])
    for dimension in dimensions.values():
        for value in dimension.values:
            _check_value(dimension.name, value, base.spec)
    return {
        name: dimension
        for name, dimension in dimensions.items()
        if dimension.parent is None
        or set(dimension.when) & set(dimensions[dimension.parent].values)
    }


def _check_value(name: str, value: Any, spec: ResNetSpec) -> None:
    """Raises `UsageError` for a value that no network or recipe for images of `spec` can have."""
    kind = family(name)
    field = "stride" if kind == "first_stride" else kind.rpartition(".")[2]
    simple = ResNetSpec(stacks=(StackSpec(),), pool=spec.pool, input_shape=spec.input_shape)
    try:
        for listed, known in (("optimizer", OPTIMIZERS), ("average", AVERAGES)):
            if kind == listed and value not in known:
                raise UsageError(unknown(kind, value, known))
        if field in StackSpec.model_fields:
            StackSpec(**{field: value})
        elif kind == "stem":
            _check_stem(value, spec)
        elif kind == "stem_kernel":
            simple.replace(stem_kernel=value)
        elif kind in ("growth", "stem_width") and not 0.01 <= value <= 100:
            raise UsageError(f"a ratio of channels is 0.01 to 100, received {value!r}")
        elif kind == "randaugment":
            parse_step(f"randaugment(m={value})")
        elif kind == "resolution":
            Recipe(spec=simple, epochs=1, resolution=resolution_of(value))
        elif field in Recipe.model_fields:
            Recipe(spec=simple, epochs=1, **{field: value})
    except UsageError as error:
        raise UsageError(f"{name}={value}: {error}") from None


def _check_stem(value: str, spec: ResNetSpec) -> None:
    kernel = value.removeprefix(WHITEN)
    if value != CONV and (value == kernel or not kernel.isdecimal()):
        raise UsageError(f"a stem is {CONV}, or {WHITEN} and a kernel of 1 to 5 such as {WHITEN}2")
    if value != CONV:
        ResNetSpec(
            stacks=(StackSpec(),),
            whiten=int(kernel),
            stem_stride=spec.stem_stride,
            input_shape=spec.input_shape,
        )


def resolution_of(value: str) -> str | None:
    """The recipe's resolution that a value of its dimension means."""
    return None if value == NONE else value.replace("+", ", ")


def family(name: str) -> str:
    """`blocks` for `blocks.2`, one of several of a kind; any other name as it is."""
    head, _, number = name.partition(".")
    return head if number.isdigit() else name
