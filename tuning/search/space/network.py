"""The network that a choice of shapes and ratios means, as wide as the parameter limit allows."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

from kerasresnet.network.budget import widen_to_budget
from kerasresnet.network.spec import EXPANSION, ResNetSpec, StackSpec

# Dimensions that shape the network, by family; all others say how it is trained.
SHAPE = {"stacks", "block", "blocks", "growth", "first_stride", "down", "conv_kernel"}
SHAPE |= {"shortcut_kernel", "stem", "stem_kernel", "stem_width"}
CONV, WHITEN = "conv", "whiten"  # stems: a convolution of its own, or whiten2, whiten3 …
_NOMINAL = 1_024  # channels that ratios are of, before the width is solved for
_WIDEST = 65_536  # channels that a spec may have


@functools.lru_cache(maxsize=4_096)
def network_of(
    shape: tuple[Any, ...], names: tuple[str, ...], base: ResNetSpec, limit: int
) -> ResNetSpec:
    """The network whose dimensions `names` have the values `shape`, filling `limit` parameters.

    `base` says the rest. Raises `UsageError` where it cannot be built, or not even one channel a
    stack fits.
    """
    values = dict(zip(names, shape, strict=True))
    growths = [values.get(f"growth.{i}") or 1.0 for i in range(1, values["stacks"] + 1)]
    ratios = list(itertools.accumulate(growths, operator.mul))
    unit = min(_NOMINAL, _WIDEST / max(values["stem_width"] or 1.0, *ratios))
    stacks = tuple(_stack(values, i, unit * ratio) for i, ratio in enumerate(ratios, start=1))
    shape = ResNetSpec(
        stacks=stacks,
        **_stem(values, unit, base.stem_stride),
        activation=base.activation,
        pool=base.pool,
        classes=base.classes,
        input_shape=base.input_shape,
    )
    return widen_to_budget(shape, limit)


def _stack(values: dict[str, Any], i: int, width: float) -> StackSpec:
    """Stack `i`, from 1, that puts out about `width` channels."""
    stride = values["first_stride"] if i == 1 else 2
    goes_down = stride != 1
    # The stride that a stack has unless told otherwise is not told.
    usual = 1 if i == 1 and values["down"] == "stride" else 2
    return StackSpec(
        block=values[f"block.{i}"],
        blocks=values[f"blocks.{i}"],
        channels=max(1, round(width / EXPANSION[values[f"block.{i}"]])),
        stride=stride if goes_down and stride != usual else None,
        conv_kernel=values["conv_kernel"],
        shortcut_kernel=values["shortcut_kernel"],
        down=values["down"] if goes_down else "stride",
    )


def _stem(values: dict[str, Any], unit: float, stride: int) -> dict[str, Any]:
    """The fields of the stem: a whitening one has no width, kernel or stride of its own."""
    if values["stem"] != CONV:
        return {"whiten": int(values["stem"].removeprefix(WHITEN)), "stem_stride": stride}
    as_wide = values["stem_width"] == 1 and values["block.1"] == "BB"
    return {
        # A stem as wide as a BB stack behind it stays so at every width: no projection there.
        "stem_channels": None if as_wide else max(1, round(unit * values["stem_width"])),
        "stem_kernel": values["stem_kernel"],
        "stem_stride": stride,
    }


def plain(spec: ResNetSpec) -> ResNetSpec:
    """`spec` without what changes nothing: a stem as wide as it would be, a kernel unused."""
    stacks = spec.stacks
    if not any(stage.first.projects for stage in spec.stages):
        stacks = tuple(stack.model_copy(update={"shortcut_kernel": 1}) for stack in stacks)
    stem = None if spec.stem_channels == stacks[0].channels else spec.stem_channels
    return spec.model_copy(update={"stacks": stacks, "stem_channels": stem})
