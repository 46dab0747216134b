"""What a network costs, counted in closed form before anything is built.

Parameters are the trainable ones: convolution kernels, batch-norm scale and offset, the head's
weights and bias; and a whitening stem's kernel, though it is frozen. Moving statistics do not
count. MACs are the multiply-accumulates of one forward pass of one image through convolutions and
head; everything else is left out, as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kerasresnet.errors import UsageError
from kerasresnet.network.spec import EXPANSION, Block, ResNetSpec, Stage

DEFAULT_LIMIT = 5_000_000

Counter = Callable[[Sequence[int], int | None], int]  # stack widths, stem width or None


class Convolution(NamedTuple):
    """A convolution of a block; `size` is height and width of what it puts out, before a pool."""

    kernel: int
    in_channels: int
    out_channels: int
    size: tuple[int, int]

    @property
    def parameters(self) -> int:
        """k²·in·out weights, and a batch norm's scale and offset for each output."""
        return (self.kernel**2 * self.in_channels + 2) * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        height, width = self.size
        return self.kernel**2 * self.in_channels * self.out_channels * height * width


class Cost(NamedTuple):
    """Parameters, and multiply-accumulates of one forward pass of one image."""

    parameters: int
    macs: int


def convolutions(block: Block) -> list[Convolution]:
    """Every convolution of a block in order; where it projects, the shortcut's comes last."""
    cin, mid, out = block.in_channels, block.channels, block.out_channels
    k, before, after = block.conv_kernel, block.in_size, block.out_size
    if block.kind == "BB":
        found = [(k, cin, mid, before if block.pools else after), (k, mid, out, after)]
    else:
        found = [(1, cin, mid, before), (k, mid, mid, after), (1, mid, out, after)]
    if block.projects:
        found.append((block.shortcut_kernel, cin, out, after))
    return [Convolution(*each) for each in found]


def _parameters(block: Block) -> int:
    return sum(each.parameters for each in convolutions(block))


def _macs(block: Block) -> int:
    return sum(each.macs for each in convolutions(block))


def _whole(count: Callable[[Block], int], stage: Stage) -> int:
    return count(stage.first) + (stage.blocks - 1) * count(stage.rest)


def count_parameters(spec: ResNetSpec) -> int:
    """Trainable parameters: what Keras counts once the network is built, always."""
    head = (spec.features + 1) * spec.classes
    stacks = sum(_whole(_parameters, stage) for stage in spec.stages)
    return _stem_cost(spec) * spec.stem + stacks + head


def _stem_cost(spec: ResNetSpec) -> int:
    """Parameters for each channel that the stem puts out: weights, and a batch norm's two."""
    channels = spec.input_shape[2]
    return spec.whiten**2 * channels if spec.whiten else spec.stem_kernel**2 * channels + 2


def count_macs(spec: ResNetSpec) -> int:
    """Multiply-accumulates of one forward pass of one image."""
    stacks = sum(_whole(_macs, stage) for stage in spec.stages)
    return _stem_macs(spec) + stacks + spec.features * spec.classes


def _stem_macs(spec: ResNetSpec) -> int:
    height, width = spec.stem_size
    kernel = spec.whiten or spec.stem_kernel
    return kernel**2 * spec.input_shape[2] * spec.stem * height * width


def cost_of_block(block: Block) -> Cost:
    """What one block costs, its shortcut included."""
    return Cost(_parameters(block), _macs(block))


def cost_by_part(spec: ResNetSpec) -> dict[str, Cost]:
    """What stem, stack0, stack1, … and head cost; together they are the counts of the network."""
    stacks = {
        f"stack{i}": Cost(_whole(_parameters, stage), _whole(_macs, stage))
        for i, stage in enumerate(spec.stages)
    }
    head = Cost((spec.features + 1) * spec.classes, spec.features * spec.classes)
    return {"stem": Cost(_stem_cost(spec) * spec.stem, _stem_macs(spec)), **stacks, "head": head}


def check_budget(spec: ResNetSpec, limit: int = DEFAULT_LIMIT) -> int:
    """The parameter count of `spec`; raises `UsageError` where it is over `limit`.

    The message names the spec, what it has, the limit, and the widest version that would fit.
    """
    count = count_parameters(spec)
    if count <= limit:
        return count
    over = f"{spec} has {count:,} parameters, {count - limit:,} over the limit of {limit:,}"
    try:
        fits = widen_to_budget(spec, limit)
    except UsageError:
        raise UsageError(f"{over}, and not even one channel a stack would fit") from None
    raise UsageError(
        f"{over}; the widest that fits is {fits} ({count_parameters(fits):,}), "
        f"or raise the limit with --max-params {count}"
    )


def widen_to_budget(spec: ResNetSpec, limit: int = DEFAULT_LIMIT) -> ResNetSpec:
    """`spec` with all channels scaled by one factor, up or down, to fill `limit`.

    A stem with channels of its own scales too. What rounding leaves is then spent on single
    channels, the costliest that still fits first, so that at least 99 % of the limit is used
    wherever whole channels allow. Raises `UsageError` where not even one channel a stack fits.
    """
    count, channels, stem = _counter(spec), spec.channels, spec.stem_channels

    def scaled(factor: float) -> tuple[list[int], int | None]:
        return [max(1, round(c * factor)) for c in channels], stem and max(1, round(stem * factor))

    if (least := count(*scaled(0.0))) > limit:
        raise UsageError(
            f"no width of {spec} fits {limit:,} parameters: one channel a stack already has "
            f"{least:,}; use fewer blocks or a higher limit"
        )
    low, high = 0.0, 1.0
    while count(*scaled(high)) <= limit:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if count(*scaled(middle)) <= limit:
            low = middle
        else:
            high = middle
    widths, stem = scaled(low)
    _fill(widths, stem, count, limit)
    # model_copy skips validation: other widths cannot make a valid spec invalid.
    stacks = tuple(
        stack.model_copy(update={"channels": width})
        for stack, width in zip(spec.stacks, widths, strict=True)
    )
    return spec.model_copy(update={"stacks": stacks, "stem_channels": stem})


def _fill(widths: list[int], stem: int | None, count: Counter, limit: int) -> None:
    """Widen stacks by one channel at a time, each time the one that comes nearest the limit."""
    while True:
        best, best_count = -1, -1
        for i in range(len(widths)):
            widths[i] += 1
            if best_count < (found := count(widths, stem)) <= limit:
                best, best_count = i, found
            widths[i] -= 1
        if best < 0:
            return
        widths[best] += 1


def _counter(spec: ResNetSpec) -> Counter:
    """`count_parameters` of `spec` with other widths, as a function of stack and stem channels.

    A stack of width c behind p channels costs (join * p + square * c + linear) * c, and its
    projection (side * p + 2 * expansion) * c: microseconds, where a spec takes a hundred.
    """
    terms = []
    for stack, stage in zip(spec.stacks, spec.stages, strict=True):
        k, more = stack.conv_kernel**2, stack.blocks - 1
        if stack.block == "BB":
            join, square, linear = k, k + more * 2 * k, 4 + more * 4
        else:
            join, square, linear = 1, k + 4 + more * (k + 8), 12 + more * 12
        expansion = EXPANSION[stack.block]
        side = stack.shortcut_kernel**2 * expansion
        terms.append((join, square, linear, side, expansion, stage.first.stride))
    stem_cost, whitened = _stem_cost(spec), spec.stem if spec.whiten else None
    classes = spec.classes
    head = spec.features // spec.stacks[-1].out_channels * classes

    def count(widths: Sequence[int], stem: int | None) -> int:
        before = whitened or stem or widths[0]
        total = stem_cost * before + classes
        for c, (join, square, linear, side, expansion, stride) in zip(widths, terms, strict=True):
            total += (join * before + square * c + linear) * c
            after = expansion * c
            if stride != 1 or before != after:
                total += (side * before + 2 * expansion) * c
            before = after
        return total + head * before

    return count
