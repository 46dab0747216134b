"""A spec reads and writes itself in three forms, resolves its defaults, and refuses bad input."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from strategies import specs

from kerasresnet.command import exit_on_error
from kerasresnet.errors import KerasResNetError, UsageError, unknown
from kerasresnet.network.spec import NAMED_SPECS, ResNetSpec, StackSpec
from kerasresnet.schema import Schema

TABLE1 = json.loads(Path(__file__).parents[1].joinpath("golden", "table1.json").read_text())


@given(specs())
def test_every_spec_round_trips_through_its_text(spec):
    assert ResNetSpec.from_text(spec.to_text()) == spec
    assert str(spec) == spec.to_text()


@given(specs())
def test_every_spec_round_trips_through_json(spec):
    text = spec.model_dump_json()
    assert ResNetSpec.model_validate_json(text) == spec
    assert ResNetSpec(**json.loads(text)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "BB2x64-BB2x128-BB2x232-BB2x268",
        "BN3x64-BB2x128s1k5p3",
        "stem32k5s2-BB1x64-BN2x100-pool2",
        "BB1x16-classes100-in28x28x1",
        "stemk5-BB1x16s2p3",
        "whiten2-BB1x64m-BB1x256s3k5p3m",
        "BB1x64-gelu-pool2",
    ],
)
def test_the_text_form_leaves_out_what_equals_its_default(text):
    assert ResNetSpec.from_text(text).to_text() == text


def test_the_parts_of_the_text_form_mean_what_the_module_says():
    spec = ResNetSpec.from_text("stem32k5s2-BN3x64-BB2x128s1k7p3-pool2-classes100-in30x28x1")
    assert spec == ResNetSpec(
        stacks=(
            StackSpec(block="BN", blocks=3, channels=64),
            StackSpec(
                block="BB", blocks=2, channels=128, stride=1, conv_kernel=7, shortcut_kernel=3
            ),
        ),
        stem_channels=32,
        stem_kernel=5,
        stem_stride=2,
        pool=2,
        classes=100,
        input_shape=(30, 28, 1),
    )


def test_a_whitening_stem_has_both_signs_of_every_direction_and_max_pool_stacks_go_down():
    spec = ResNetSpec.from_text("whiten3-BB1x64m-BN1x8s3m-in32x31x1")
    assert (spec.whiten, spec.stem, spec.stem_size) == (3, 18, (30, 29))
    assert [stage.first.out_size for stage in spec.stages] == [(15, 14), (5, 4)]
    assert [stack.down for stack in spec.stacks] == ["maxpool", "maxpool"]


@pytest.mark.parametrize("name", TABLE1)
def test_the_named_specs_are_the_rows_of_table_1(name):
    assert ResNetSpec.named(name).to_text() == TABLE1[name]["spec"]
    assert ResNetSpec.from_text(name) == ResNetSpec.named(name)


def test_all_twelve_rows_have_a_name():
    assert set(TABLE1) == {f"table1-{row:02}" for row in range(1, 13)} <= set(NAMED_SPECS)


def test_the_first_stack_has_stride_1_and_later_ones_2_unless_said():
    first = [stage.first for stage in ResNetSpec.from_text("BB2x8-BB2x8-BN1x8s1-BB1x8").stages]
    assert [block.stride for block in first] == [1, 2, 1, 2]
    assert [block.out_size for block in first] == [(32, 32), (16, 16), (16, 16), (8, 8)]


def test_only_the_first_block_of_a_stack_has_its_stride():
    (stage,) = ResNetSpec.from_text("BN3x8s2").stages
    assert (stage.blocks, stage.first.stride, stage.rest.stride) == (3, 2, 1)
    assert stage.rest.in_size == stage.rest.out_size == stage.first.out_size == (16, 16)


@pytest.mark.parametrize(
    ("text", "projections"),
    [
        ("BB2x8", [(False, False)]),  # same channels, same size
        ("stem4-BB2x8", [(True, False)]),  # the stem is narrower
        ("BN2x8", [(True, False)]),  # a bottleneck puts out four times its channels
        ("stem32-BN2x8", [(False, False)]),
        ("BB2x8s2", [(True, False)]),
        ("BB2x8-BB2x8", [(False, False), (True, False)]),
        ("BB2x8-BB2x8s1", [(False, False), (False, False)]),
        ("BN2x8-BB2x32s1", [(True, False), (False, False)]),
    ],
)
def test_the_shape_decides_where_a_projection_stands(text, projections):
    stages = ResNetSpec.from_text(text).stages
    assert [(stage.first.projects, stage.rest.projects) for stage in stages] == projections


@pytest.mark.parametrize(
    ("text", "final_size", "features"),
    [
        ("BB1x8", (32, 32), 8),
        ("BN1x8-BN1x8-BN1x8-BN1x8", (4, 4), 32),
        ("BB1x8-BB1x8-BB1x8-BB1x8-pool2", (4, 4), 4 * 8),
        ("BB1x8-BB1x8-BB1x8-BB1x8-pool3", (4, 4), 8),  # windows that do not fit are left out
        ("stems2-BB1x8-BB1x8-pool1-in29x13x1", (8, 4), 32 * 8),
    ],
)
def test_sizes_and_features_follow_strides_and_pool(text, final_size, features):
    spec = ResNetSpec.from_text(text)
    assert spec.final_size == final_size
    assert spec.features == features


CANNOT_READ = "write stacks as BB2x64 or BN3x128s1k5p3"
BAD_TEXTS = {
    "BX2x64": "unknown block type 'BX' in 'BX2x64'; known are BB (basic) and BN (bottleneck)",
    "bb2x64": "unknown block type 'bb'",
    "BB0x64": "blocks: input should be greater than or equal to 1, received 0",
    "BB2x0": "channels: input should be greater than or equal to 1, received 0",
    "BB2x99999": "channels: input should be less than or equal to 65536, received 99999",
    "BB2x-64": CANNOT_READ,
    "BB-2x64": CANNOT_READ,
    "BB2.5x64": CANNOT_READ,
    "BBx64": CANNOT_READ,
    "BB2x٣": CANNOT_READ,  # an Arabic three is a digit, and none of ours
    "BB2x64k4": "conv_kernel: a kernel must be odd (1, 3, 5, …) to have a centre, received 4",
    "BB2x64k0": "conv_kernel: input should be greater than or equal to 1, received 0",
    "BB2x64p2": "shortcut_kernel: a kernel must be odd (1, 3, 5, …) to have a centre, received 2",
    "BB2x64s0": "stride: input should be greater than or equal to 1, received 0",
    "stem0-BB2x64": "stem_channels: input should be greater than or equal to 1, received 0",
    "stemk2-BB2x64": "stem_kernel: a kernel must be odd (1, 3, 5, …) to have a centre, received 2",
    "stemk0-BB2x64": "stem_kernel: input should be greater than or equal to 1, received 0",
    "stems0-BB2x64": "stem_stride: input should be greater than or equal to 1, received 0",
    "stem3-stem4-BB1x1": "'stem4' says again what an earlier part said",
    "BB2x64-pool4-pool2": "'pool2' says again what an earlier part said",
    "BB2x64-pool33": "pool 33 is larger than the 32x32 that the last stack puts out; use pool32",
    "BB2x64-pool9-in16x8x3": "pool 9 is larger than the 16x8 that the last stack puts out",
    "BB2x64-pool0": "'global', received 0",
    "BB2x64-classes1": "classes: input should be greater than or equal to 2, received 1",
    "BB2x64-in0x32x3": "input_shape.0: input should be greater than or equal to 1, received 0",
    "BB1x4-BB1x8-BB1x16-in2x32x3": (
        "stack 2 (BB1x16) would pool below 1x1: it has stride 2, and 1x16 is left of the input; "
        "use fewer stacks, or give it stride 1 (BB1x16s1)"
    ),
    "BB1x4s4-in3x32x3": "stack 0 (BB1x4s4) would pool below 1x1: it has stride 4, and 3x32 is left",
    "pool4": "stacks: tuple should have at least 1 item",
    "": "cannot read ''",
    "BB2x64--BB2x64": "cannot read ''",
    "whiten2-stem8-BB1x4": "leave out one of whiten and stem",
    "whiten0-BB1x4": "whiten: input should be greater than or equal to 1, received 0",
    "whiten3-BB1x4-in2x32x3": "whitening patches of 3x3 are larger than the input of 2x32",
    "BB1x4s1m": "leave out one of s1 and m",
    "BB1x4m-BB1x4s4m-in7x9x3": "it has stride 4, and 3x4 is left of the input",
    "table1-13": "or one of table1-01 … table1-12, images64, images224",
    "resnet18": "cannot read 'resnet18'",
}


@pytest.mark.parametrize(("text", "told"), BAD_TEXTS.items())
def test_a_bad_text_is_told_in_one_line(text, told):
    with pytest.raises(UsageError) as error:
        ResNetSpec.from_text(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"block": "XX"}, "block: input should be 'BB' or 'BN', received 'XX'"),
        ({"blocks": -1}, "blocks: input should be greater than or equal to 1, received -1"),
        ({"blocks": 2.5}, "blocks: input should be a valid integer, received 2.5"),
        ({"blocks": "2"}, "blocks: input should be a valid integer, received '2'"),
        ({"blocks": True}, "blocks: input should be a valid integer, received True"),
        ({"conv_kernel": -3}, "conv_kernel: input should be greater than or equal to 1"),
        ({"chanels": 3}, "no field of StackSpec: did you mean 'channels'? it has block"),
    ],
)
def test_a_bad_stack_is_told_in_one_line(fields, told):
    with pytest.raises(UsageError) as error:
        StackSpec(**fields)
    assert told in str(error.value)
    with pytest.raises(UsageError) as inside_a_network:
        ResNetSpec(stacks=[fields])
    assert told.split(":")[0] in str(inside_a_network.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "stacks: field required"),
        ({"stacks": [{}], "pool": "max"}, "'global', received 'max'"),
        ({"stacks": [{}], "classes": "ten"}, "classes: input should be a valid integer"),
        ({"stacks": [{}], "input_shape": (32, 32)}, "input_shape.2: field required"),
        ({"stacks": [{}], "kernel": 5}, "no field of ResNetSpec: did you mean 'stem_kernel'? it"),
        ({"stacks": [{}] * 65}, "stacks: tuple should have at most 64 items"),
    ],
)
def test_a_bad_network_is_told_in_one_line(fields, told):
    with pytest.raises(UsageError) as error:
        ResNetSpec(**fields)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_name_is_told_with_the_nearest_one():
    with pytest.raises(UsageError, match="unknown spec name 'table1-6': did you mean 'table1-06'"):
        ResNetSpec.named("table1-6")
    assert unknown("fruit", "zzz", ["apple"]) == "unknown fruit 'zzz': known are apple"


def test_a_schema_is_frozen_and_can_be_a_key():
    spec = ResNetSpec.from_text("BB1x8-pool2")
    with pytest.raises(ValueError, match="frozen"):
        spec.pool = 4
    with pytest.raises(ValueError, match="frozen"):
        spec.stacks[0].channels = 4
    assert {spec: 1}[ResNetSpec.from_text("BB1x8-pool2")] == 1


def test_replace_gives_a_validated_copy():
    stack = StackSpec(channels=8)
    assert stack.replace(channels=16) == StackSpec(channels=16)
    assert stack.channels == 8
    with pytest.raises(UsageError, match="conv_kernel: a kernel must be odd"):
        stack.replace(conv_kernel=4)


@pytest.mark.parametrize("wrong", [{}, {"text": 5}, {"spec": "BB1x8"}])
def test_a_schema_raises_usage_errors_only(wrong):
    class Note(Schema):
        text: str

    with pytest.raises(UsageError):
        Note(**wrong)


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("wrong flag"), 2), (KerasResNetError("disk full"), 1)]
)
def test_a_command_ends_with_one_line_and_the_errors_code(error, code, capsys):
    with pytest.raises(SystemExit) as stop, exit_on_error("kerasresnet.fit"):
        raise error
    assert stop.value.code == code
    assert capsys.readouterr().err == f"kerasresnet.fit: error: {error}\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_error("kerasresnet.fit"):
        _ = 1 / 0
