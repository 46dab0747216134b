"""The text form of augmentation policies: what is read, what is written, what is refused."""

import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasresnet.augment.policy import (
    STEPS,
    AutoAugment,
    Crop,
    CutMix,
    Cutout,
    Erase,
    Flip,
    Mixup,
    RandAugment,
    TrivialAugment,
    parse_step,
    step_text,
)
from kerasresnet.errors import UsageError

numbers = st.floats(1e-300, 10_000)
steps = st.one_of(
    st.builds(Crop, pad=st.integers(0, 100), reflect=st.booleans()),
    st.builds(Flip, alternating=st.booleans()),
    st.builds(
        RandAugment,
        num_ops=st.integers(1, 9),
        magnitude=st.one_of(st.integers(0, 30), st.floats(0, 30)),
        num_bins=st.integers(31, 99),
        std=numbers,
    ),
    st.builds(TrivialAugment),
    st.builds(AutoAugment),
    st.builds(Cutout, size=st.integers(1, 64)),
    st.builds(Erase, p=st.floats(0, 1)),
    st.builds(Mixup, alpha=numbers),
    st.builds(CutMix, alpha=numbers, p=st.floats(0, 1)),
)


@given(steps)
def test_every_step_round_trips_through_its_text(step):
    assert parse_step(step_text(step)) == step


@given(steps)
def test_colons_may_stand_in_place_of_parentheses(step):
    name, *settings = step_text(step).removesuffix(")").replace("(", ", ").split(", ")
    assert parse_step(":".join([name, *settings])) == step


@pytest.mark.parametrize("name", STEPS)
def test_a_step_with_its_defaults_is_written_as_its_bare_name(name):
    assert step_text(parse_step(name)) == name
    assert parse_step(name) == STEPS[name]()


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("crop(pad=4)", Crop(pad=4)),
        ("crop(6)", Crop(pad=6)),
        ("crop:2:reflect=true", Crop(2, reflect=True)),
        (" Crop( pad = 2 ) ", Crop(pad=2)),
        ("flip(alternating=true)", Flip(alternating=True)),
        ("flip(alternating=True)", Flip(alternating=True)),
        ("randaugment(n=3, m=14)", RandAugment(num_ops=3, magnitude=14)),
        ("randaugment(num_ops=1, magnitude=4.5, std=0.5)", RandAugment(1, 4.5, std=0.5)),
        ("autoaugment(policy=cifar10)", AutoAugment("cifar10")),
        ("autoaugment('cifar10')", AutoAugment("cifar10")),
        ("erase(p=0.25)", Erase(p=0.25)),
        ("mixup(alpha=0.8)", Mixup(alpha=0.8)),
        ("mixup( 8e-1 )", Mixup(alpha=0.8)),
        ("crop( )", Crop()),
        ("trivialaugment()", TrivialAugment()),
        ("randaugment:n=3:m=14", RandAugment(num_ops=3, magnitude=14)),
        ("Crop : pad = 2", Crop(pad=2)),
        ("crop:6", Crop(pad=6)),
        ("autoaugment:'cifar10'", AutoAugment("cifar10")),
    ],
)
def test_forms_that_people_type_are_read(text, step):
    assert parse_step(text) == step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rendaugment", "did you mean 'randaugment'"),
        ("blur", "known are crop, flip, randaugment"),
        ("crop(padding=4)", "did you mean 'pad'"),
        ("crop(pad=4", "reads like"),
        ("crop(pad=x())", "reads like"),
        ("crop(pad=[4])", "reads like"),
        ("crop(pad={[]: 4})", "reads like"),
        ("crop(4,)", "reads like"),
        ("crop:", "reads like"),
        ("crop:pad=4:", "reads like"),
        ("crop:pad=(4)", "reads like"),
        ("crop(pad:4)", "reads like"),
        ("crop:4, 5", "reads like"),
        ("crop + flip", "reads like"),
        ("crop(**{})", "reads like"),
        ("", "reads like"),
        ("cutout(1, 2)", "at most 1"),
        ("crop(1, 2)", "crop.s reflect is true or false, received reflect=2"),
        ("crop(1, true, 2)", "at most 2"),
        ("crop(reflect=1)", "crop.s reflect is true or false, received reflect=1"),
        ("trivialaugment(9)", "takes no values"),
        ("trivialaugment(m=9)", "takes no values"),
        ("crop(1, pad=2)", "given twice"),
        ("randaugment(n=1, num_ops=2)", "given twice"),
        ("crop(pad=-1)", "at least 0"),
        ("crop(pad=2.5)", "integer"),
        ("crop(pad=0x4)", "integer"),
        ("crop(pad='4')", "integer"),
        ("crop(pad=nan)", "integer"),
        ("mixup(alpha=nan)", "above 0"),
        ("mixup(alpha=1e999)", "at most 10000"),
        ("cutout(10001)", "at most 10000"),
        ("crop(pad=true)", "integer"),
        ("flip(alternating=1)", "true or false"),
        ("randaugment(m=31)", "at most 30"),
        ("randaugment(m=many)", "a number"),
        ("randaugment(n=0)", "at least 1"),
        ("autoaugment(policy=imagenet)", "cifar10"),
        ("cutout(size=0)", "at least 1"),
        ("erase(p=1.5)", "at most 1"),
        ("mixup(alpha=0)", "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would_be_right(text, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_step(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        f"crop(pad={'9' * 5000})",
        f"crop(pad={'-' * 3000}4)",
        f"crop(pad={'(' * 2000}4{')' * 2000})",
        f"crop(pad={'[' * 90}4{']' * 90})",
        f"crop(pad={'-' * 180}4)",
        f"crop(pad={'9' * 180})",
        f"crop{':pad=4' * 5000}",
        "crop(pad=4\0)",
        "\0",
        "crop(pad=\ud800)",
        "crop(\n\n",
        "autoaugment('\\d')",
    ],
)
def test_texts_that_no_parser_likes_are_refused_in_one_short_line(text):
    with warnings.catch_warnings(), pytest.raises(UsageError) as error:
        warnings.simplefilter("error")
        parse_step(text)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


words = st.sampled_from(("crop", "flip", "randaugment", "pad", "n", "m", "true", "nan", "1e9"))
marks = st.sampled_from("=:,()[{'-+*#.\\\0\n 049")
mixtures = st.lists(words | marks, max_size=12).map("".join)


@given(st.text() | mixtures)
def test_any_text_is_a_step_or_a_mistake_told_in_one_line(text):
    try:
        step = parse_step(text)
    except UsageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert parse_step(step_text(step)) == step


def test_a_step_that_is_not_text_is_refused():
    with pytest.raises(UsageError, match="reads like"):
        parse_step(7)


def test_policies_are_read_without_keras():
    code = (
        "import sys, kerasresnet.augment.policy; assert not {'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
