"""A profile times real steps, and its figures belong together."""

import pytest

from kerasresnet.command import parse
from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.profile.__main__ import ProfileOptions, check_options, print_profile, profile
from kerasresnet.profile.steps import a_second


def options_of(*arguments):
    return parse(ProfileOptions, list(arguments), prog="profile")


def test_the_figures_belong_together(capsys):
    recipe = check_options(options_of("stem8s2-BB1x8-in16x16x1", "--batch-size", "16"))
    found = profile(recipe, rounds=1, seconds=0)
    macs = count_macs(ResNetSpec.from_text("stem8s2-BB1x8-in16x16x1"))
    assert found.macs == macs and found.images_a_second > 0
    assert found.ms_a_step * found.images_a_second == pytest.approx(1_000 * 16)
    assert found.gflop_a_second == pytest.approx(found.images_a_second * 6 * macs / 1e9)
    # So small a network wastes most of its time.
    assert 0 < found.share_of_peak < 0.5
    print_profile(found)
    printed = capsys.readouterr().out
    assert "ms for 16 images" in printed and f"{found.share_of_peak:.0%}" in printed


def test_steps_are_counted_until_the_time_is_over():
    seen = []
    assert a_second(lambda: seen.append(0), 5.0, 0.01) > 0 and len(seen) > 1
    assert a_second(lambda: seen.append(1), 5.0, 0.0) > 0 and seen.count(1) == 1


def test_a_named_recipe_stands_for_its_network():
    text = check_options(options_of("quick")).spec.to_text()
    assert text == "whiten2-BB1x64m-BB1x128m-BB1x256m-gelu"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["quik"], "'quik'"),
        (["quick", "--optimizer", "sdg"], "did you mean 'sgd'"),
        (["quick", "--batch-size", "0"], "batch_size"),
        (["quick", "--rounds", "0"], "--rounds is 1 or more"),
    ],
)
def test_what_makes_no_sense_is_told(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_options(options_of(*arguments))
