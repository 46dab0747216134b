"""What a network costs, counted in closed form before anything is built.

Parameters are the trainable ones: convolution kernels, batch-norm scale and offset, the head's
weights and bias. Moving statistics do not count. MACs are the multiply-accumulates of one
forward pass of one image through convolutions and head; everything else is left out, as usual.
"""

from __future__ import annotations

from kerasresnet.errors import UsageError
from kerasresnet.spec import Block, ResNetSpec

DEFAULT_LIMIT = 5_000_000


def _convolutions(block: Block) -> list[tuple[int, int, int, tuple[int, int]]]:
    """(kernel, channels in, channels out, output size) of every convolution of a block."""
    cin, mid, out = block.in_channels, block.channels, block.out_channels
    k, before, after = block.conv_kernel, block.in_size, block.out_size
    if block.block == "BB":
        found = [(k, cin, mid, after), (k, mid, out, after)]
    else:
        found = [(1, cin, mid, before), (k, mid, mid, after), (1, mid, out, after)]
    if block.projects:
        found.append((block.shortcut_kernel, cin, out, after))
    return found


def _parameters(block: Block) -> int:
    # k*k*in*out weights, and a batch norm's scale and offset for each output
    return sum((k * k * cin + 2) * cout for k, cin, cout, _ in _convolutions(block))


def _macs(block: Block) -> int:
    return sum(k * k * cin * cout * h * w for k, cin, cout, (h, w) in _convolutions(block))


def count_parameters(spec: ResNetSpec) -> int:
    """Trainable parameters: what Keras counts once the network is built, always."""
    stem = (spec.stem_kernel**2 * spec.input_shape[2] + 2) * spec.stem
    head = (spec.features + 1) * spec.classes
    stacks = sum(_parameters(s.first) + (s.blocks - 1) * _parameters(s.rest) for s in spec.stages)
    return stem + stacks + head


def count_macs(spec: ResNetSpec) -> int:
    """Multiply-accumulates of one forward pass of one image."""
    height, width = spec.stages[0].first.in_size
    stem = spec.stem_kernel**2 * spec.input_shape[2] * spec.stem * height * width
    stacks = sum(_macs(s.first) + (s.blocks - 1) * _macs(s.rest) for s in spec.stages)
    return stem + stacks + spec.features * spec.classes


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
    if count_parameters(_scaled(spec, 0.0)) > limit:
        raise UsageError(
            f"no width of {spec} fits {limit:,} parameters: one channel a stack already has "
            f"{count_parameters(_scaled(spec, 0.0)):,}; use fewer blocks or a higher limit"
        )
    low, high = 0.0, 1.0
    while count_parameters(_scaled(spec, high)) <= limit:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if count_parameters(_scaled(spec, middle)) <= limit:
            low = middle
        else:
            high = middle
    return _fill(_scaled(spec, low), limit)


def _with_channels(spec: ResNetSpec, channels: list[int], stem: int | None) -> ResNetSpec:
    # model_copy skips validation, which would take longer than the count.
    stacks = tuple(
        stack.model_copy(update={"channels": c})
        for stack, c in zip(spec.stacks, channels, strict=True)
    )
    return spec.model_copy(update={"stacks": stacks, "stem_channels": stem})


def _scaled(spec: ResNetSpec, factor: float) -> ResNetSpec:
    channels = [max(1, round(c * factor)) for c in spec.channels]
    stem = max(1, round(spec.stem_channels * factor)) if spec.stem_channels else None
    return _with_channels(spec, channels, stem)


def _fill(spec: ResNetSpec, limit: int) -> ResNetSpec:
    """Add channels one at a time, each time the one that brings the count nearest the limit."""
    while True:
        wider = []
        for i in range(len(spec.channels)):
            channels = list(spec.channels)
            channels[i] += 1
            candidate = _with_channels(spec, channels, spec.stem_channels)
            if (count := count_parameters(candidate)) <= limit:
                wider.append((count, candidate))
        if not wider:
            return spec
        spec = max(wider, key=lambda pair: pair[0])[1]
