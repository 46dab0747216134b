"""The closed form counts what Keras builds, and a limit is kept, explained and filled."""

import json
import math
from pathlib import Path

import keras
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from strategies import specs

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import (
    DEFAULT_LIMIT,
    _counter,
    check_budget,
    convolutions,
    cost_by_part,
    cost_of_block,
    count_macs,
    count_parameters,
    widen_to_budget,
)
from kerasresnet.network.build import build_model
from kerasresnet.network.spec import ResNetSpec

TABLE1 = json.loads(Path(__file__).parents[1].joinpath("golden", "table1.json").read_text())
ROW_6 = ResNetSpec.named("table1-06")


def keras_parameters(model):
    counted = (v for v in model.variables if v.trainable or v.name == "kernel")  # frozen ones too
    return sum(math.prod(variable.shape) for variable in counted)


def keras_macs(model):
    """Each weight of a convolution is used once for each output pixel; each of the head's once."""
    return sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    )


@settings(max_examples=10, deadline=None)
@given(specs(stacks=3, blocks=2, channels=6, kernel=7, size=14, classes=5))
@example(ResNetSpec.from_text("BB2x6k5p3-BN2x4k7p5-in13x9x2"))
@example(ResNetSpec.from_text("stem5k7s2-BN2x3s3p7-BB1x12s1-pool2-in14x14x1"))
@example(ResNetSpec.from_text("whiten2-BB2x6m-BN2x3s3p3m-in15x14x1"))
def test_the_closed_forms_equal_what_keras_builds(spec):
    model = build_model(spec)
    assert count_parameters(spec) == keras_parameters(model)
    assert count_macs(spec) == keras_macs(model)
    keras.backend.clear_session()


@pytest.mark.parametrize("name", TABLE1)
def test_table_1_has_its_exact_figures(name):
    spec = ResNetSpec.named(name)
    assert count_parameters(spec) == TABLE1[name]["parameters"]
    assert count_macs(spec) == TABLE1[name]["macs"]


@given(specs(stacks=12, blocks=40, channels=512, kernel=9, size=64, classes=1000))
@example(ResNetSpec.from_text("whiten2-BB2x6m-BN2x3s3p3m-in15x14x1"))
def test_the_parts_of_a_network_cost_together_what_the_network_costs(spec):
    parts = cost_by_part(spec)
    assert list(parts) == ["stem", *(f"stack{i}" for i in range(len(spec.stacks))), "head"]
    assert sum(cost.parameters for cost in parts.values()) == count_parameters(spec)
    assert sum(cost.macs for cost in parts.values()) == count_macs(spec)
    for i, stage in enumerate(spec.stages):
        blocks = [stage.first, *[stage.rest] * (stage.blocks - 1)]
        assert sum(cost_of_block(block).parameters for block in blocks) == parts[f"stack{i}"][0]


def test_the_convolutions_of_a_block_end_with_its_projection():
    first, rest = ResNetSpec.from_text("stem16-BN2x8s2k5p3").stages[0][:2]
    assert convolutions(first) == [
        (1, 16, 8, (32, 32)),
        (5, 8, 8, (16, 16)),
        (1, 8, 32, (16, 16)),
        (3, 16, 32, (16, 16)),
    ]
    assert [each.kernel for each in convolutions(rest)] == [1, 5, 1]


def test_a_mixed_row_of_table_1_has_these_figures_in_keras_too():
    model = build_model(ResNetSpec.named("table1-08"))
    assert keras_parameters(model) == TABLE1["table1-08"]["parameters"]
    assert keras_macs(model) == TABLE1["table1-08"]["macs"]


def test_a_spec_at_the_limit_passes_and_its_count_is_returned():
    assert DEFAULT_LIMIT == 5_000_000
    assert check_budget(ROW_6) == 4_994_298
    assert check_budget(ROW_6, 4_994_298) == 4_994_298


@pytest.mark.parametrize(
    ("spec", "limit", "over"),
    [
        ("BB2x64-BB2x128-BB2x256-BB2x512", 5_000_000, "11,173,962 parameters, 6,173,962 over"),
        ("table1-06", 4_994_297, "4,994,298 parameters, 1 over"),
        ("table1-12", 5_000, "4,991,598 parameters, 4,986,598 over"),
    ],
)
def test_over_the_limit_the_error_says_count_limit_and_the_widest_that_fits(spec, limit, over):
    spec = ResNetSpec.from_text(spec)
    fits = widen_to_budget(spec, limit)
    with pytest.raises(UsageError) as error:
        check_budget(spec, limit)
    message = str(error.value)
    assert message.startswith(f"{spec} has {over} the limit of {limit:,}; ")
    assert f" {fits} ({count_parameters(fits):,})" in message
    assert message.endswith(f"raise the limit with --max-params {count_parameters(spec)}")
    assert check_budget(fits, limit) <= limit


def test_where_nothing_fits_the_error_says_so():
    with pytest.raises(UsageError, match="over the limit of 10, and not even one channel a stack"):
        check_budget(ROW_6, 10)
    with pytest.raises(UsageError, match=r"no width of .* fits 10 parameters.*use fewer blocks or"):
        widen_to_budget(ROW_6, 10)


def one_channel_wider(spec):
    for i, stack in enumerate(spec.stacks):
        wider = stack.replace(channels=stack.channels + 1)
        yield spec.replace(stacks=(*spec.stacks[:i], wider, *spec.stacks[i + 1 :]))


def with_channels_of(spec, other):
    stacks = zip(spec.stacks, other.stacks, strict=True)
    return spec.replace(
        stacks=tuple(stack.replace(channels=like.channels) for stack, like in stacks),
        stem_channels=other.stem_channels,
    )


NETWORKS = specs(stacks=5, blocks=40, channels=512, kernel=9, size=64, classes=1000)


@settings(deadline=None)
@given(NETWORKS, st.integers(1_000, 20_000_000))
def test_widening_fills_99_percent_of_a_limit_wherever_whole_channels_allow(spec, limit):
    try:
        wide = widen_to_budget(spec, limit)
    except UsageError:
        assume(False)
    share = count_parameters(wide) / limit
    assert share <= 1
    assert share >= 0.99 or all(count_parameters(s) > limit for s in one_channel_wider(wide))


@settings(deadline=None)
@given(NETWORKS, st.integers(100_000, 20_000_000))
def test_widening_changes_channels_only(spec, limit):
    try:
        wide = widen_to_budget(spec, limit)
    except UsageError:
        assume(False)
    assert with_channels_of(wide, spec) == spec
    assert ResNetSpec.from_text(wide.to_text()) == wide


@settings(deadline=None)
@given(NETWORKS, st.integers(1, 100_000))
def test_widening_refuses_only_what_is_over_the_limit_at_one_channel_a_stack(spec, limit):
    stacks = tuple(stack.replace(channels=1) for stack in spec.stacks)
    least = spec.replace(stacks=stacks, stem_channels=spec.stem_channels and 1)
    if count_parameters(least) > limit:
        with pytest.raises(UsageError, match="use fewer blocks or a higher limit"):
            widen_to_budget(spec, limit)
    else:
        assert count_parameters(widen_to_budget(spec, limit)) <= limit


@pytest.mark.parametrize("name", sorted(TABLE1))
@pytest.mark.parametrize("limit", [200_000, 1_000_000, 5_000_000, 20_000_000])
def test_every_row_of_table_1_fills_99_percent_of_any_usual_limit(name, limit):
    spec = ResNetSpec.named(name)
    wide = widen_to_budget(spec, limit)
    assert 0.99 * limit <= count_parameters(wide) <= limit
    # One factor for all stacks, but for rounding and for the channels that fill what it leaves.
    factor = sum(wide.channels) / sum(spec.channels)
    assert wide.channels == pytest.approx([factor * c for c in spec.channels], abs=4)


def test_a_stem_of_its_own_widens_along():
    wide = widen_to_budget(ResNetSpec.from_text("stem16-BB1x32-BB1x64"), 1_000_000)
    assert wide.stem_channels == pytest.approx(wide.channels[0] / 2, abs=1)


@given(specs(stacks=4, blocks=50, channels=600, kernel=7, size=64), st.data())
def test_the_solver_counts_any_widths_as_count_parameters_does(spec, data):
    width = st.integers(1, 600)
    widths = [data.draw(width) for _ in spec.stacks]
    stem = data.draw(width) if spec.stem_channels else None
    stacks = [stack.replace(channels=w) for stack, w in zip(spec.stacks, widths, strict=True)]
    other = spec.replace(stacks=stacks, stem_channels=stem)
    assert _counter(spec)(widths, stem) == count_parameters(other)
