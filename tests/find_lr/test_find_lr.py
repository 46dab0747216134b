"""The range test raises the rate step by step, sees the loss fall and rise, and says both."""

import pytest

from kerasresnet.command import parse
from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.find_lr.__main__ import FindOptions, check_options, find, write
from kerasresnet.find_lr.sweep import Sweep, rates_between, smooth

FLAGS = ["--data", "digits", "--spec", "stem8s2-BB1x16", "--batch-size", "32"]


def options_of(*more):
    return parse(FindOptions, [*FLAGS, *more], prog="find-lr")


def test_the_loss_falls_until_the_rate_is_too_high(tmp_path):
    options = options_of("--lowest", "1e-3", "--highest", "100", "--steps", "60")
    found, facts = find(options, *check_options(options))
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 60
    assert found.rates == rates_between(1e-3, 100, 60)[: len(found.losses)]
    lowest = found.smoothed.index(min(found.smoothed))
    assert 0 < lowest < len(found.losses) - 1
    assert found.smoothed[lowest] < 0.9 * found.smoothed[0] < found.smoothed[-1]
    assert found.suggestion == pytest.approx(found.rates[lowest] / 10)

    picture = write(found, facts, tmp_path / "rates")
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = read_json(tmp_path / "rates" / "find-lr.json")
    assert written["suggestion"] == found.suggestion and written["data"] == "digits"
    assert written["recipe"]["spec"] == "stem8s2-BB1x16" and written["losses"] == [*found.losses]


def test_smoothing_is_not_drawn_to_zero_at_the_beginning():
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smooth([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)


@pytest.mark.parametrize("losses", [(), (1.0, 2.0, 3.0)])
def test_a_loss_that_never_falls_is_told_and_nothing_written(losses, tmp_path):
    found = Sweep((1e-3, 1e-2, 1e-1)[: len(losses)], losses, losses)
    with pytest.raises(KerasResNetError, match=f"at none of the {len(losses)} rates"):
        write(found, {}, tmp_path / "rates")
    assert not (tmp_path / "rates").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--lowest", "1", "--highest", "0.1"], "--lowest is above 0 and below --highest"),
        (["--steps", "3"], "--steps is 10 or more"),
        (["--optimizer", "adm"], "did you mean 'adam'"),
        (["--recipe", "quik"], "did you mean 'quick'"),
        (["--seed", "-1"], "a seed is a number from 0"),
    ],
)
def test_what_makes_no_sense_is_told(flags, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_options(options_of(*flags))
