"""What a search may choose, and the network and recipe that a choice means.

A choice fixes shapes and ratios; the width that fills the parameter limit is then solved for, so
that every sample is inside the limit before anything is built. Dimensions are declared up front,
and each can be fixed or narrowed: `blocks.2=1,2`, `conv_kernel=3`, `sgd.learning_rate=0.05..0.2`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import operator
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kerasresnet.augment.policy import parse_step
from kerasresnet.errors import UsageError, unknown
from kerasresnet.network.budget import count_macs, count_parameters, widen_to_budget
from kerasresnet.network.spec import EXPANSION, ResNetSpec, StackSpec
from kerasresnet.recipe import Recipe
from tuning.search.space.dimension import Dimension, choice, narrowed, span

if TYPE_CHECKING:
    import keras_tuner

FILLED = 0.95  # the least share of the limit that a sample may use
DRAWS = 1_000  # draws without one that fits, after which the space counts as empty
_NOMINAL = 1_024  # channels that ratios are of, before the width is solved for
_WIDEST = 65_536  # channels that a spec may have

# What each optimizer is searched with: its own rates, and the settings that go with it.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "decay": "decoupled"},
    "convmuon": {"momentum": 0.8, "nesterov": True, "decay": "decoupled"},
    "adamw": {"momentum": 0.9, "nesterov": False, "decay": "decoupled"},
}
_RATES = {
    "sgd": (span("learning_rate", 0.05, 1.0), span("weight_decay", 1e-4, 1e-2)),
    "convmuon": (span("learning_rate", 0.01, 0.2), span("weight_decay", 1e-4, 1e-1)),
    "adamw": (span("learning_rate", 3e-4, 1e-2), span("weight_decay", 1e-3, 1e-1)),
}


def default_dimensions(stacks: Iterable[int] = (2, 3, 4)) -> dict[str, Dimension]:
    """Every dimension by name, parents first; a stack's own exist where there is such a stack."""
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
        choice("conv_kernel", 3, 5),
        choice("shortcut_kernel", 1, 3),
        choice("stem_kernel", 3, 5),
        choice("stem_width", 0.5, 1.0),  # channels of the stem, in units of what stack 1 puts out
        choice("optimizer", *OPTIMIZERS),
    ]
    for name in OPTIMIZERS:
        theirs = {"parent": "optimizer", "when": (name,)}
        found += [replace(rate, name=f"{name}.{rate.name}", **theirs) for rate in _RATES[name]]
    found += [
        choice("schedule", "one_cycle", "cosine"),
        choice("randaugment", 0, 3, 6, 9, 12),  # its magnitude, after the base's own steps; 0: none
        choice("label_smoothing", 0.0, 0.05, 0.1, 0.2),
    ]
    return {dimension.name: dimension for dimension in found}


def narrow(changes: Mapping[str, Any]) -> dict[str, Dimension]:
    """The default dimensions with some fixed or narrowed.

    A key is a dimension (`blocks.2`) or a family of them (`blocks`), and a member's own values win
    over its family's; a value is one value, a list, or text such as "1,2" and "0.05..0.2". The
    rates of optimizers that are left out are left out too. Raises `UsageError` for an unknown
    dimension, a value that no network or recipe can have, or one that leaves nothing.
    """
    changes = dict(changes)
    numbers = narrowed(choice("stacks", 2, 3, 4), changes.pop("stacks", (2, 3, 4))).values
    if not all(1 <= number <= 16 for number in numbers):
        raise UsageError(f"stacks are 1 to 16, received {', '.join(map(str, numbers))}")
    dimensions = default_dimensions(numbers)
    for key in sorted(changes, key=lambda key: key.count(".")):  # a family before its members
        members = [name for name in dimensions if key in (name, family(name))]
        if not members:
            known = dict.fromkeys([*map(family, dimensions), *dimensions])
            raise UsageError(unknown("dimension", key, known))
        for name in members:
            dimensions[name] = narrowed(dimensions[name], changes[key])
    for dimension in dimensions.values():
        for value in dimension.values:
            _check_value(dimension.name, value)
    return {
        name: dimension
        for name, dimension in dimensions.items()
        if dimension.parent != "optimizer"
        or set(dimension.when) & set(dimensions["optimizer"].values)
    }


def _check_value(name: str, value: Any) -> None:
    """Raises `UsageError` for a value that no network or recipe can have."""
    kind = family(name)
    field = "stride" if kind == "first_stride" else kind.rpartition(".")[2]
    try:
        if kind == "optimizer" and value not in OPTIMIZERS:
            raise UsageError(unknown("optimizer", value, OPTIMIZERS))
        if field in StackSpec.model_fields:
            StackSpec(**{field: value})
        elif kind == "stem_kernel":
            ResNetSpec(stacks=(StackSpec(),), stem_kernel=value)
        elif kind in ("growth", "stem_width") and not 0.01 <= value <= 100:
            raise UsageError(f"a ratio of channels is 0.01 to 100, received {value!r}")
        elif kind == "randaugment":
            parse_step(f"randaugment(m={value})")
        elif field in Recipe.model_fields:
            Recipe(spec=ResNetSpec(stacks=(StackSpec(),)), epochs=1, **{field: value})
    except UsageError as error:
        raise UsageError(f"{name}={value}: {error}") from None


def family(name: str) -> str:
    """`blocks` for `blocks.2`, one of several of a kind; any other name as it is."""
    head, _, number = name.partition(".")
    return head if number.isdigit() else name


@dataclass(frozen=True)
class Space:
    """Dimensions, the recipe that says everything else, and the limits of every network.

    The limits are `base.max_params` trainable parameters and, where given, `max_macs`
    multiply-accumulates an image.
    """

    base: Recipe
    dimensions: Mapping[str, Dimension]
    max_macs: int | None = None

    def sample(self, draw: random.Random) -> dict[str, Any]:
        """A choice whose network uses 95 to 100 % of the parameter limit.

        Raises `UsageError` where a thousand draws give none.
        """
        for _ in range(DRAWS):
            values: dict[str, Any] = {}
            for dimension in self.dimensions.values():
                if dimension.is_active(values):
                    values[dimension.name] = dimension.draw(draw)
            if self.fits(values):
                return values
        raise UsageError(self._emptiness(values))

    def canonical(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` as a draw would give them: active dimensions only, numbers to three digits."""
        found: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if dimension.is_active(found):
                found[name] = dimension.rounded(values[name])
        return found

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether the network of a choice is inside the limits, and uses what it may."""
        try:
            spec = self.network(values)
        except UsageError:  # pools below 1 x 1, or one channel a stack is too much already
            return False
        limit = self.base.max_params
        filled = FILLED * limit <= count_parameters(spec) <= limit
        return filled and (self.max_macs is None or count_macs(spec) <= self.max_macs)

    def network(self, values: Mapping[str, Any]) -> ResNetSpec:
        """The network of a choice, as wide as the parameter limit allows.

        Raises `UsageError` where it cannot be built, or not even one channel a stack fits.
        """
        shape = tuple(values.get(name) for name in self._shape_names)
        return _network(shape, self._shape_names, self.base.spec, self.base.max_params)

    @functools.cached_property
    def _shape_names(self) -> tuple[str, ...]:
        families = {"stacks", "block", "blocks", "growth", "first_stride", "conv_kernel"}
        families |= {"shortcut_kernel", "stem_kernel", "stem_width"}
        return tuple(name for name in self.dimensions if family(name) in families)

    @functools.cached_property
    def _other_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.dimensions if name not in self._shape_names)

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The whole recipe of a choice: the base's, with what was chosen."""
        optimizer = values["optimizer"]
        augment = self.base.augment
        if values["randaugment"]:
            augment = (*augment, f"randaugment(n=2, m={values['randaugment']})")
        return self.base.replace(
            spec=self.network(values),
            optimizer=optimizer,
            learning_rate=values[f"{optimizer}.learning_rate"],
            weight_decay=values[f"{optimizer}.weight_decay"],
            schedule=values["schedule"],
            schedule_step="batch",  # one_cycle knows no other
            cycle_momentum=self.base.cycle_momentum if values["schedule"] == "one_cycle" else None,
            augment=augment,
            label_smoothing=values["label_smoothing"],
            **OPTIMIZERS[optimizer],
        )

    def identity(self, values: Mapping[str, Any]) -> str:
        """A hash of what is trained: equal for choices that mean the same network and recipe."""
        rest = [(name, values[name]) for name in self._other_names if name in values]
        text = json.dumps([_plain(self.network(values)).to_text(), rest])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, list[Any] | str]:
        """What each dimension may be, as `narrow` reads it."""
        return {name: dimension.to_json() for name, dimension in self.dimensions.items()}

    def declared(self) -> keras_tuner.HyperParameters:
        """Every dimension, as keras-tuner describes a space."""
        import keras_tuner

        found = keras_tuner.HyperParameters()
        for dimension in self.dimensions.values():
            dimension.declare(found)
        return found

    def _emptiness(self, values: Mapping[str, Any]) -> str:
        limit = self.base.max_params
        also = f" and at most {self.max_macs:,} MACs" if self.max_macs else ""
        return (
            f"no network of the space uses {FILLED:.0%} to 100% of {limit:,} parameters{also}: "
            f"{DRAWS:,} draws gave none; {self._example(values)}; raise --max-params, or "
            "allow fewer and smaller stacks with --set stacks=…, blocks=…, conv_kernel=…"
        )

    def _example(self, values: Mapping[str, Any]) -> str:
        try:
            spec = self.network(values)
        except UsageError as error:
            return str(error).split(";")[0]
        return f"{spec} has {count_parameters(spec):,} and {count_macs(spec):,} MACs"


def _plain(spec: ResNetSpec) -> ResNetSpec:
    """`spec` without what changes nothing: a stem as wide as it would be, a kernel unused."""
    stacks = spec.stacks
    if not any(stage.first.projects for stage in spec.stages):
        stacks = tuple(stack.model_copy(update={"shortcut_kernel": 1}) for stack in stacks)
    stem = None if spec.stem_channels == stacks[0].channels else spec.stem_channels
    return spec.model_copy(update={"stacks": stacks, "stem_channels": stem})


@functools.lru_cache(maxsize=4_096)
def _network(
    shape: tuple[Any, ...], names: tuple[str, ...], base: ResNetSpec, limit: int
) -> ResNetSpec:
    values = dict(zip(names, shape, strict=True))
    growths = [values.get(f"growth.{i}") or 1.0 for i in range(1, values["stacks"] + 1)]
    ratios = list(itertools.accumulate(growths, operator.mul))
    unit = min(_NOMINAL, _WIDEST / max(values["stem_width"], *ratios))
    stacks = []
    for i, ratio in enumerate(ratios, start=1):
        block = values[f"block.{i}"]
        stacks.append(
            StackSpec(
                block=block,
                blocks=values[f"blocks.{i}"],
                channels=max(1, round(unit * ratio / EXPANSION[block])),
                stride=values["first_stride"] if i == 1 and values["first_stride"] != 1 else None,
                conv_kernel=values["conv_kernel"],
                shortcut_kernel=values["shortcut_kernel"],
            )
        )
    as_wide = values["stem_width"] == 1 and values["block.1"] == "BB"
    shape = ResNetSpec(
        stacks=tuple(stacks),
        # A stem as wide as a BB stack behind it stays so at every width: no projection there.
        stem_channels=None if as_wide else max(1, round(unit * values["stem_width"])),
        stem_kernel=values["stem_kernel"],
        stem_stride=base.stem_stride,
        pool=base.pool,
        classes=base.classes,
        input_shape=base.input_shape,
    )
    return widen_to_budget(shape, limit)
