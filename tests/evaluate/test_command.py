"""What cannot be measured is told before anything is loaded."""

import numpy as np
import pytest

from kerasresnet.command import parse
from kerasresnet.errors import UsageError
from kerasresnet.evaluate import __main__ as command
from kerasresnet.evaluate.__main__ import EvaluateOptions, check_options, print_metrics
from kerasresnet.load.predictor import Predictor


def checked(*arguments):
    check_options(parse(EvaluateOptions, list(map(str, arguments)), prog="evaluate"))


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--image-size", 64), ("--on-bad-image", "skip"), ("--split-seed", 3)],
)
def test_what_is_said_of_images_needs_the_images(flag, value, tmp_path):
    with pytest.raises(UsageError, match=f"{flag} is for images of --data: without"):
        checked(tmp_path, flag, value)
    checked(tmp_path, flag, value, "--data", "digits")
    checked(tmp_path)


def test_a_mistake_shows_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        checked(tmp_path / "nothing")
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        checked(tmp_path, "--data", "digit")


@pytest.mark.parametrize("names", [None, tuple("0123456789")])
def test_a_network_without_names_of_classes_says_whose_are_taken(names, monkeypatch, capsys):
    always_nought = Predictor(lambda images: np.eye(10)[[0] * len(images)], (32, 32, 3), 10, names)
    monkeypatch.setattr(command, "load_predictor", lambda path, trust: always_nought)
    options = parse(EvaluateOptions, ["bare.keras", "--data", "digits"], prog="evaluate")
    assert 0.05 < command.evaluate_path(options)["accuracy"] < 0.15
    note = "kerasresnet.evaluate: bare.keras names no classes: taken are those of digits\n"
    assert capsys.readouterr().err == ("" if names else note)


def test_a_long_path_is_not_broken_at_the_width_of_the_table(capsys):
    path, data = f"runs/{'x' * 60}", "/somewhere/where/all/the/pictures/are"
    metrics = {"accuracy": 0.5, "loss": 1.0, "images": 4, "per_class": {"a": 1.0, "b": 0.0}}
    print_metrics({"path": path, "data": data, "top_confusions": [], **metrics})
    assert capsys.readouterr().out.startswith(f"{path} on {data}\n")
