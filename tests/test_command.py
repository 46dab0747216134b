"""A command line's mistakes are told in one line that says what to type."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from kerasresnet.command import exit_on_error, parse, read_count, waiting_for
from kerasresnet.errors import UsageError
from kerasresnet.fit.options import parse_fit_options
from kerasresnet.list.__main__ import ListOptions
from kerasresnet.recipe import Recipe
from kerasresnet.show.__main__ import ShowOptions
from tuning.search.options import SearchOptions


def told(*arguments):
    with pytest.raises(UsageError) as error:
        parse_fit_options(list(arguments))
    message = str(error.value)
    assert "\n" not in message and message.endswith("(see python -m kerasresnet.fit --help)")
    return message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epoch", "3"], "there is no flag --epoch: did you mean --epochs"),
        (["--epoch=3"], "there is no flag --epoch: did you mean --epochs"),
        (["--batchsize", "64"], "there is no flag --batchsize: did you mean --batch-size?"),
        (["--zzz"], "there is no flag --zzz ("),
        (["my_images"], "'my_images' belongs to no flag"),
        (
            ["--max-params", "60q"],
            "--max-params: a whole number is written 60000, 60k or 1.5M, rec",
        ),
        (["--name", "my net"], "letters, digits, '.', '_' and '-', a letter or digit first, such "),
        (["--name", "my net"], "as 'my-net', received 'my net'"),
        (["--spec", "tabel1-06"], "did you mean 'table1-06'?"),
        (["--epochs"], "--epochs takes a value ("),
        (["--lr", "high"], "--learning-rate: a number is written 0.1 or 1e-4, received 'high'"),
        (["--ema", "high"], "--ema: a number is written 0.1 or 1e-4, received 'high'"),
        (["--lookahead", "5.5"], "--lookahead: a whole number is written 60000, 60k or 1.5M, rec"),
        (
            ["--schedule", "cosin"],
            "--schedule: unknown value 'cosin': did you mean 'cosine'?",
        ),
        (
            ["--on-bad-image", "drop"],
            "--on-bad-image: unknown value 'drop': known are refuse, ",
        ),
        (["--cycle-momentum", "0.9"], "--cycle-momentum is written {None}|{FLOAT FLOAT}, received"),
    ],
)
def test_a_mistake_says_what_to_type(arguments, sentence):
    assert sentence in told(*arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        (ListOptions, [], "recipes|specs|data|optimizers|augmentations is missing: recipes for "),
        (
            ListOptions,
            ["recipe"],
            "kind: unknown value 'recipe': did you mean 'recipes'? ",
        ),
        (ShowOptions, [], "SPEC|RECIPE is missing: a spec (BB2x64-BN2x100, table1-06), a named "),
        (ShowOptions, ["--max-params", "1M"], "SPEC|RECIPE is missing"),
        (
            SearchOptions,
            ["--max-params", "300kk"],
            "--max-params: a whole number is written ",
        ),
    ],
)
def test_other_commands_say_it_as_well(kind, arguments, sentence):
    with pytest.raises(UsageError) as error:
        parse(kind, arguments, prog="python -m kerasresnet.some")
    message = str(error.value)
    assert message.startswith(sentence) and "\n" not in message
    assert message.endswith("(see python -m kerasresnet.some --help)")


def test_what_may_be_left_open_is_closed_and_opened_again():
    training = parse_fit_options(["--lookahead", "1k", "--norm-rate", "2"]).training
    assert (training.ema, training.lookahead, training.norm_rate) == (None, 1_000, 2.0)
    assert parse_fit_options(["--recipe", "row6", "--lookahead", "None"]).training.lookahead is None


def test_every_recipe_stands_in_the_help(capsys):
    with pytest.raises(SystemExit):
        parse_fit_options(["--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--lr FLOAT, --learning-rate FLOAT" in printed
    assert all(f" {name}," in printed or f"({name}," in printed for name in Recipe.names()[:5])


def test_an_unknown_recipe_is_told_with_the_nearest_name():
    with pytest.raises(UsageError, match="'tabel1-06': did you mean 'table1-06'"):
        parse_fit_options(["--recipe", "tabel1-06"])


@pytest.mark.parametrize("arguments", [["--lr", "0.3"], ["--lr=0.3"]])
def test_lr_is_short_for_the_learning_rate(arguments):
    assert parse_fit_options(arguments).training.learning_rate == 0.3


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("60000", 60_000), ("60_000", 60_000), ("60k", 60_000), ("60,000", 60_000)),
        *(("5M", 5_000_000), ("1.5m", 1_500_000), ("0.1k", 100), ("2G", 2 * 10**9), ("-3", -3)),
    ],
)
def test_counts_are_read_as_people_write_them(text, count):
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["", "k", "1.5", "60 thousand", "1e3", "0.0001k", "9" * 5_000])
def test_what_is_no_count_is_told(text):
    with pytest.raises(UsageError, match="a whole number is written"):
        read_count(text)


def name_of(*arguments):
    return parse_fit_options(list(arguments)).training.name


def test_a_changed_recipe_is_called_after_the_recipe_and_its_network():
    assert name_of() == "quick"
    assert name_of("--epochs", "3") == "quick-custom"
    assert name_of("--spec", "BB1x64-BN1x32", "--epochs", "3") == "quick-BB1x64-BN1x32"
    assert name_of("--recipe", "table1-06", "--spec", "BB1x8") == "table1-06-BB1x8"
    assert name_of("--name", "mine", "--spec", "BB1x8") == "mine"
    assert name_of("--data", "digits") == "digits"
    assert name_of("--data", "digits", "--recipe", "quick") == "quick-digits"


def test_different_networks_never_share_a_name_however_long_they_are():
    stacks = "-".join(["BB1x64"] + ["BB1x64s1"] * 20)
    names = {name_of("--spec", f"{stacks}-BB1x{last}s1") for last in (62, 63)}
    assert len(names) == 2 and {len(name) for name in names} == {80}


@pytest.mark.parametrize("backend", ["jaxx", "torch"])
def test_a_backend_that_is_not_there_is_one_line(backend, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(SystemExit) as stop, exit_on_error("x"):
        if backend == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        raise ValueError(f"Unable to import backend : {backend}")
    assert stop.value.code == 2
    assert re.fullmatch(
        rf".*KERAS_BACKEND={backend}.*unset KERAS_BACKEND.*\n", capsys.readouterr()[1]
    )


@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("x", name="x")])
def test_other_errors_keep_their_traceback(error, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(type(error)), exit_on_error("x"):
        raise error


def test_help_into_a_pipe_that_closes_says_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "kerasresnet.fit", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_long_wait_says_what_it_waits_for_on_a_terminal_and_a_short_one_nothing(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with waiting_for("a train", seconds=60):
            pass
        with waiting_for("TensorFlow", seconds=0.01):
            time.sleep(0.3)
        assert os.read(ours, 1_000).decode().strip() == "waiting for TensorFlow …"
    os.close(ours)
