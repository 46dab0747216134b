"""The factors of a study: a text such as `optimizer=sgd,adam`, and the recipes that it means.

A factor is a field of the recipe, or of the network and its stacks. A value for every stack is
written with colons, `channels=64:128:232:268`; a single one is for all stacks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kerasresnet.errors import UsageError, unknown
from kerasresnet.network.budget import check_budget, count_parameters, widen_to_budget
from kerasresnet.network.spec import ResNetSpec, StackSpec
from kerasresnet.recipe import Recipe

STACK_FACTORS = tuple(StackSpec.model_fields)
SPEC_FACTORS = ("stem_channels", "stem_kernel", "stem_stride", "activation", "pool")
RECIPE_FACTORS = tuple(f for f in Recipe.model_fields if f not in ("name", "max_params"))
FACTORS = (*RECIPE_FACTORS, *STACK_FACTORS, *SPEC_FACTORS)

# Where an optimizer's learning rate and momentum come from: a rate is good for one optimizer only.
TUNED_IN = {
    "sgd": "table1-06",
    "adagrad": "table1-02",
    "rmsprop": "table1-03",
    "adam": "table1-04",
    "convmuon": "quick",
}


@dataclass(frozen=True)
class Setting:
    """One value of one factor, and the recipe it makes of the base; the base has no factor.

    The recipe is named after the setting; a value that the base has already is the base's recipe.
    """

    factor: str
    value: str
    recipe: Recipe

    @property
    def label(self) -> str:
        return f"{self.factor}={self.value}" if self.factor else "base"

    @property
    def is_base(self) -> bool:
        return self.recipe.name == "base"


def read_settings(
    base: Recipe, varied: Sequence[str], *, widen: bool = False
) -> tuple[list[Setting], list[str]]:
    """The base and every value of `varied` that can be read, and one sentence for each mistake.

    With `widen`, a network that is not the base's is as wide as the base's parameters allow.
    """
    base = base.replace(name="base")
    settings, mistakes = [Setting("", "", base)], []
    try:
        check_budget(base.spec, base.max_params)
    except UsageError as error:
        mistakes.append(f"base: {error}")
    for text in varied:
        factor, equals, values = text.partition("=")
        if not equals:
            mistakes.append(f"{text}: write FACTOR=VALUE,VALUE, such as batch_size=64,128")
            continue
        if factor not in FACTORS:
            mistakes.append(unknown("factor", factor, FACTORS))
            continue
        for value in _split(values, ","):
            try:
                setting = _setting(base, factor, value, widen)
            except UsageError as error:
                mistakes.append(f"{factor}={value}: {error}")
                continue
            known = [s.recipe.replace(name="base") for s in settings if s.factor == factor]
            if setting.recipe.replace(name="base") not in known:
                settings.append(setting)
    return settings, mistakes


def _setting(base: Recipe, factor: str, value: str, widen: bool) -> Setting:
    if not value:
        raise UsageError(f"a value is missing; write {factor}=VALUE,VALUE")
    recipe = with_value(base, factor, value)
    if recipe.spec != base.spec:
        if widen:
            spec = widen_to_budget(recipe.spec, count_parameters(base.spec))
            recipe = recipe.replace(spec=spec)
        _check_budget(recipe, widen)
    if recipe != base:
        recipe = recipe.replace(name=_slug(f"{factor}={value}"))
    return Setting(factor, value, recipe)


def _check_budget(recipe: Recipe, widen: bool) -> None:
    try:
        check_budget(recipe.spec, recipe.max_params)
    except UsageError as error:
        hint = "" if widen else ", or scale every network to the base's parameters with --widen"
        raise UsageError(f"{error}{hint}") from None


def with_value(base: Recipe, factor: str, value: str) -> Recipe:
    """`base` with one factor changed, and what cannot be told apart from it.

    An optimizer brings the learning rate and momentum of the named recipe that uses it
    (`TUNED_IN`), or the rate behind @. Of the schedules only one_cycle moves the momentum, and it
    moves after every batch. Raises `UsageError` for a value that cannot be read.
    """
    if factor == "spec":
        return base.replace(spec=ResNetSpec.from_text(value))
    if factor in STACK_FACTORS:
        return base.replace(spec=_with_stacks(base.spec, factor, value))
    if factor in SPEC_FACTORS:
        spec = base.spec.replace(**{factor: _whole_number(value)})
        if factor == "pool" and spec != base.spec and spec.final_size == (spec.pool, spec.pool):
            spec = spec.replace(pool="global")  # one window: the same network
        return base.replace(spec=spec)
    if factor == "optimizer":
        return _with_optimizer(base, value)
    if factor == "augment":
        return base.replace(augment=() if value == "none" else tuple(_split(value, "+")))
    if factor == "schedule" and value != base.schedule:
        moves = {"schedule_step": "batch"} if value == "one_cycle" else {"cycle_momentum": None}
        return base.replace(schedule=value, **moves)
    return base.replace(**{factor: tuple(value.split(":")) if ":" in value else value})


def _with_stacks(spec: ResNetSpec, factor: str, value: str) -> ResNetSpec:
    texts = value.split(":")
    values = [text if factor == "block" else _whole_number(text) for text in texts]
    if len(values) == 1:
        values *= len(spec.stacks)
    if len(values) != len(spec.stacks):
        raise UsageError(
            f"{len(values)} values for the {len(spec.stacks)} stacks of {spec}; give one for each, "
            "one for all, or whole networks with spec=…"
        )
    stacks = [s.replace(**{factor: v}) for s, v in zip(spec.stacks, values, strict=True)]
    return spec.replace(stacks=tuple(stacks))


def _whole_number(text: str) -> int | str | None:
    """A number where the text is one; the network says what is wrong with anything else."""
    if text == "none":
        return None
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _with_optimizer(base: Recipe, value: str) -> Recipe:
    name, at, rate = value.lower().partition("@")
    changes: dict[str, Any] = {"optimizer": name}
    if name != base.optimizer and name in TUNED_IN:
        tuned = Recipe.named(TUNED_IN[name])
        changes |= {f: getattr(tuned, f) for f in ("learning_rate", "momentum", "nesterov")}
    elif name != base.optimizer:
        base.replace(**changes)  # an unknown name is the first thing to tell
        if not at:
            raise UsageError(
                f"no named recipe says a learning rate for {name}; write it behind, "
                f"optimizer={name}@0.001"
            )
    return base.replace(**changes | ({"learning_rate": rate} if at else {}))


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside parentheses."""
    outside = rf"{re.escape(separator)}(?![^(]*\))"
    return [part.strip() for part in re.split(outside, text)]


def _slug(label: str) -> str:
    """The label as a name of a recipe and a folder, at most 80 characters long."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", label.replace("+", ".")).strip("-")
    if len(name) <= 60:
        return name
    return f"{name[:50]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"
