"""Random specs for the property tests: whatever a `ResNetSpec` accepts, every field drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from kerasresnet.network.spec import ResNetSpec, StackSpec


def odd(highest: int) -> st.SearchStrategy[int]:
    """Odd numbers from 1 to `highest`, which is odd."""
    return st.integers(0, highest // 2).map(lambda n: 2 * n + 1)


@st.composite
def specs(
    draw: st.DrawFn,
    *,
    stacks: int = 6,
    blocks: int = 65_536,
    channels: int = 65_536,
    kernel: int = 31,
    size: int = 65_536,
    classes: int = 65_536,
) -> ResNetSpec:
    """Specs that fit their input, each number at most the one given."""
    shape = draw(st.tuples(st.integers(1, size), st.integers(1, size), st.integers(1, 4)))
    whiten = draw(st.none() | st.integers(1, min(5, *shape[:2])))
    stem_stride = 1 if whiten else draw(st.integers(1, min(8, *shape[:2])))
    left = [n - whiten + 1 if whiten else -(-n // stem_stride) for n in shape[:2]]
    found = []
    for i in range(draw(st.integers(1, stacks))):
        pools = min(left) >= 2 and draw(st.booleans())
        default = 1 if i == 0 and not pools else 2
        given = st.integers(2 if pools else 1, min(8, *left))
        stride = draw(st.none() | given if default <= min(left) else given)
        left = [n // (stride or 2) if pools else -(-n // (stride or default)) for n in left]
        found.append(
            StackSpec(
                block=draw(st.sampled_from(("BB", "BN"))),
                blocks=draw(st.integers(1, blocks)),
                channels=draw(st.integers(1, channels)),
                stride=stride,
                conv_kernel=draw(odd(kernel)),
                shortcut_kernel=draw(odd(kernel)),
                down="maxpool" if pools else "stride",
            )
        )
    return ResNetSpec(
        stacks=found,
        stem_channels=None if whiten else draw(st.none() | st.integers(1, channels)),
        stem_kernel=3 if whiten else draw(odd(kernel)),
        stem_stride=stem_stride,
        whiten=whiten,
        activation=draw(st.sampled_from(["relu", "gelu"])),
        pool=draw(st.just("global") | st.integers(1, min(left))),
        classes=draw(st.integers(2, classes)),
        input_shape=shape,
    )
