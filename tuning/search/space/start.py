"""Where a search starts: the choice nearest to its base recipe, which all others have to beat."""

from __future__ import annotations

import itertools
from typing import Any

from kerasresnet.network.spec import EXPANSION
from kerasresnet.recipe import Recipe
from tuning.search.space.choices import NONE, NORM_RATE, schedule_text
from tuning.search.space.network import CONV, WHITEN
from tuning.search.space.space import Space


def first_choice(space: Space) -> dict[str, Any] | None:
    """The choice of `space` nearest to `space.base`, as wide as the limit allows.

    Each dimension has the value next to the base's own. None where the limits refuse the network.
    """
    wanted, values = _wanted(space.base), {}
    for name, dimension in space.dimensions.items():
        if dimension.is_active(values):
            values[name] = dimension.nearest(wanted.get(name))
    return values if space.fits(values) else None


def _wanted(base: Recipe) -> dict[str, Any]:
    """What the base would have chosen, by dimension."""
    spec = base.spec
    widths = [stack.channels * EXPANSION[stack.block] for stack in spec.stacks]
    first = spec.stacks[0]
    wanted = {
        "stacks": len(spec.stacks),
        "first_stride": spec.stages[0].first.stride,
        "down": spec.stacks[-1].down,
        "conv_kernel": first.conv_kernel,
        "shortcut_kernel": first.shortcut_kernel,
        "stem": f"{WHITEN}{spec.whiten}" if spec.whiten else CONV,
        "stem_kernel": spec.stem_kernel,
        "stem_width": (spec.stem_channels or first.channels) / widths[0],
        "optimizer": base.optimizer,
        f"{base.optimizer}.learning_rate": base.learning_rate,
        f"{base.optimizer}.weight_decay": base.weight_decay,
        f"{base.optimizer}.norm_rate": base.norm_rate or NORM_RATE.get(base.optimizer, 1.0),
        "norm_momentum": base.norm_momentum,
        "average": "ema" if base.ema else "lookahead" if base.lookahead else NONE,
        "ema": base.ema,
        "lookahead": base.lookahead,
        "schedule": base.schedule,
        "resolution": schedule_text(base.resolution),
        "randaugment": 0,  # it comes after the base's own steps
        "label_smoothing": base.label_smoothing,
    }
    for i, stack in enumerate(spec.stacks, start=1):
        wanted |= {f"block.{i}": stack.block, f"blocks.{i}": stack.blocks}
    for i, (before, after) in enumerate(itertools.pairwise(widths), start=2):
        wanted[f"growth.{i}"] = after / before
    return wanted
