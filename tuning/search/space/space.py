"""What a choice means: a network inside the limits, and the recipe that trains it.

A choice fixes shapes and ratios; the width that fills the parameter limit is then solved for, so
that every sample is inside the limit before anything is built.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import Recipe
from kerasresnet.schema import shown
from tuning.search.space.choices import NONE, NORM_RATE, OPTIMIZERS, family, resolution_of
from tuning.search.space.dimension import Dimension
from tuning.search.space.network import SHAPE, network_of, plain

if TYPE_CHECKING:
    import keras_tuner

FILLED = 0.95  # the least share of the limit that a sample may use
DRAWS = 1_000  # draws without one that fits, after which the space counts as empty


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

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises `UsageError` where `values` are no choice of this space."""
        found: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            if dimension.is_active(found):
                if not dimension.holds(values.get(name)):
                    told = shown(values[name]) if name in values else "nothing"
                    raise UsageError(f"{name} is none of its values: {told}")
                found[name] = values[name]

    def fits(self, values: Mapping[str, Any]) -> bool:
        """Whether the network of a choice is inside the limits, and uses what it may."""
        try:
            spec = self.network(values)
        except UsageError:  # pools below 1 x 1, or one channel a stack is too much already
            return False
        limit = self.base.max_params
        filled = FILLED * limit <= count_parameters(spec) <= limit
        filled = filled and _takes_small(spec, values["resolution"])
        return filled and (self.max_macs is None or count_macs(spec) <= self.max_macs)

    def network(self, values: Mapping[str, Any]) -> ResNetSpec:
        """The network of a choice, as wide as the parameter limit allows.

        Raises `UsageError` where it cannot be built, or not even one channel a stack fits.
        """
        shape = tuple(values.get(name) for name in self._shape_names)
        return network_of(shape, self._shape_names, self.base.spec, self.base.max_params)

    @functools.cached_property
    def _shape_names(self) -> tuple[str, ...]:
        shape = (name for name in self.dimensions if family(name) in SHAPE)
        # Those that were narrowed away have no value, as those that do not exist beside others.
        return tuple(dict.fromkeys((*shape, "stem_kernel", "stem_width")))

    @functools.cached_property
    def _other_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.dimensions if name not in self._shape_names)

    def recipe(self, values: Mapping[str, Any]) -> Recipe:
        """The whole recipe of a choice: the base's, with what was chosen."""
        optimizer = values["optimizer"]
        augment = self.base.augment
        if values["randaugment"]:
            augment = (*augment, f"randaugment(n=2, m={values['randaugment']})")
        norm_rate = values[f"{optimizer}.norm_rate"]
        return self.base.replace(
            spec=self.network(values),
            optimizer=optimizer,
            learning_rate=values[f"{optimizer}.learning_rate"],
            weight_decay=values[f"{optimizer}.weight_decay"],
            norm_rate=None if norm_rate == NORM_RATE.get(optimizer, 1.0) else norm_rate,
            norm_momentum=values["norm_momentum"],
            ema=values.get("ema"),
            lookahead=values.get("lookahead"),
            resolution=resolution_of(values["resolution"]),
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
        text = json.dumps([plain(self.network(values)).to_text(), rest])
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
        if not _takes_small(spec, values["resolution"]):
            return f"{spec} would pool the small images of {values['resolution']} below 1x1"
        return f"{spec} has {count_parameters(spec):,} and {count_macs(spec):,} MACs"


def _takes_small(spec: ResNetSpec, schedule: str) -> bool:
    """Whether `spec` pools no image of a resolution schedule below 1 x 1."""
    if schedule == NONE:
        return True
    size = min(map(int, re.findall(r"(\d+)\s*:", schedule)))
    small = spec.model_copy(update={"input_shape": (size, size, spec.input_shape[2])})
    return all(stage.first.stride <= min(stage.first.in_size) for stage in small.stages)
