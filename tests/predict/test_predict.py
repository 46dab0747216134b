"""Images become classes wherever the model is, and a bad one harms no other."""

import contextlib
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from model_servers import grpc_server, rest_server
from pictures import noise, photo, saved
from PIL import Image

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.predict import __main__ as command
from kerasresnet.predict.classify import classify
from kerasresnet.predict.images import find_images
from kerasresnet.predict.interface import Answer, Refused
from kerasresnet.predict.target import open_target

COMMAND = [sys.executable, "-m", "kerasresnet.predict"]
WATCHED = [sys.executable, "-X", "importtime", *COMMAND[1:]]


@pytest.fixture(scope="module")
def expected(finished_run, digits):
    """What the Keras model says of those six."""
    import keras
    from scipy.special import softmax

    model = keras.saving.load_model(finished_run.model_path, compile=False)
    return softmax(model.predict_on_batch(digits.x_test[:6]), axis=1)


def check_agreement(results, expected, class_names=None):
    for result, probabilities in zip(results, expected, strict=True):
        ids = [entry["class_id"] for entry in result["top"]]
        found = [entry["probability"] for entry in result["top"]]
        assert len(set(ids)) == 3
        np.testing.assert_allclose(found, probabilities[ids], atol=1e-4)
        np.testing.assert_allclose(found, np.sort(probabilities)[:-4:-1], atol=1e-4)
        assert (result["class_id"], result["probability"]) == (ids[0], found[0])
        if class_names:
            assert result["label"] == class_names[ids[0]]


@contextlib.contextmanager
def opened(kind, finished_run, model_directory, engine):
    """One model, in each of the places where a model can be."""
    if kind in ("rest", "grpc"):
        with (rest_server if kind == "rest" else grpc_server)(engine) as address:
            yield open_target(address)
    else:
        places = {
            "model directory": model_directory,
            "version directory": model_directory / "1",
            "run": finished_run.path,
            ".keras": finished_run.model_path,
        }
        yield open_target(str(places[kind]))


KINDS = ["model directory", "version directory", "run", ".keras", "rest", "grpc"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_gives_the_models_classes(
    kind, photos, expected, digits, finished_run, model_directory, engine
):
    with opened(kind, finished_run, model_directory, engine) as target:
        results = classify(target, find_images([str(photos)]), batch_size=4)
        assert target.image_shape == (32, 32, 3)
    check_agreement(results, expected, digits.class_names)
    assert [Path(result["file"]).name for result in results] == [f"{i}.png" for i in range(6)]


@pytest.mark.parametrize("kind", ["model directory", "rest", "grpc"])
def test_files_go_as_they_are_and_pixels_give_the_same(
    kind, photos, expected, finished_run, model_directory, engine
):
    with opened(kind, finished_run, model_directory, engine) as target:
        assert target.takes_bytes
        target.takes_bytes = False
        check_agreement(classify(target, find_images([str(photos)])), expected)


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_server_gets_files_in_batches(kind, photos, finished_run, model_directory, engine):
    with opened(kind, finished_run, model_directory, engine) as target:
        engine.requests.clear()
        classify(target, find_images([str(photos)]), batch_size=4)
    assert engine.requests == [("serving_bytes", 4), ("serving_bytes", 2)]


@pytest.fixture
def mixed(photos):
    """Good files and bad ones, in turn; each bad one with what is said of it."""
    good = (photos / "0.png").read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    huge = bytearray(saved(Image.new("L", (8, 8)), "PNG"))
    huge[16:24] = (60_000).to_bytes(4) * 2  # what its header says: 3.6 gigapixels
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4)
    contents = {
        "empty.png": (b"", "is empty"),
        "text.png": (b"not an image at all, only text" * 9, "is no image of a known kind"),
        "truncated.png": (good[: len(good) // 2], ""),
        "truncated.jpg": (saved(photo(), "JPEG")[:900], "truncated"),
        "damaged.png": (bytes(damaged), ""),
        "bomb.png": (bytes(huge), "exceeds limit of"),
    }
    for name, (data, _) in contents.items():
        (photos / name).write_bytes(data)
    (photos / "nothing").mkdir()
    bad = {name: reason for name, (_, reason) in contents.items()}
    bad |= {"missing.png": "No such file", "nothing": "holds no images"}
    names = [name for i, name in enumerate(bad) for name in (f"{i % 6}.png", name)]
    return [str(photos / name) for name in names], bad


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_are_told_and_the_others_classified(
    kind, mixed, expected, finished_run, model_directory, engine
):
    arguments, bad = mixed
    with opened(kind, finished_run, model_directory, engine) as target:
        results = classify(target, find_images(arguments), batch_size=7)
    assert [result["file"] for result in results] == arguments
    for result, reason in zip(results[1::2], bad.values(), strict=True):
        assert reason in result["error"] and len(result["error"].splitlines()) == 1
    check_agreement(results[::2], np.concatenate([expected, expected[:2]]))


def test_what_is_refused_as_a_file_is_tried_as_pixels(model_directory, tmp_path):
    """A photo over the export's limit is scaled here."""
    noise(1300, 1300).save(tmp_path / "large.png")
    target = open_target(str(model_directory))
    with pytest.raises(Refused):
        target.predict([(tmp_path / "large.png").read_bytes()])
    (result,) = classify(target, find_images([str(tmp_path / "large.png")]))
    assert "error" not in result


class Picky:
    """Refuses a batch in which an image's first value is 13, and fails for good after a while."""

    name, image_shape, takes_bytes, class_names = "picky", (1, 1, 1), False, None

    def __init__(self, calls=1000):
        self.calls = calls

    def predict(self, images):
        if not self.calls:
            raise KerasResNetError("the server went away")
        self.calls -= 1
        if (images == 13).any():
            raise Refused("thirteen")
        return Answer(np.eye(256)[images.ravel()], [f"n{i}" for i in images.ravel()])


@pytest.fixture
def greys(tmp_path):
    """64 images of one pixel, each of its own value."""
    for i in range(64):
        Image.new("L", (1, 1), i).save(tmp_path / f"{i:02}.png")
    return find_images([str(tmp_path)])


def test_the_bad_one_of_a_batch_is_found_by_halving(greys):
    target = Picky()
    results = classify(target, greys, batch_size=64, top=1)
    assert [r.get("error", r.get("class_id")) for r in results] == [
        "thirteen" if i == 13 else i for i in range(64)
    ]
    assert 1000 - target.calls == 13  # 1 + 2 for each of 6 halvings


def test_what_a_server_answered_before_it_went_away_is_kept(greys):
    results = classify(Picky(calls=2), greys[20:], batch_size=8, top=1)
    assert [r.get("class_id") for r in results] == [*range(20, 36), *[None] * 28]
    assert {r["error"] for r in results[16:]} == {"the server went away"}
    with pytest.raises(KerasResNetError, match="went away"):
        classify(Picky(calls=0), greys)


def test_names_come_from_the_answers_unless_they_are_given(greys):
    results = classify(Picky(), greys[:3], top=2)
    assert [c["label"] for c in results[0]["top"]] == ["n0", "n1"]
    assert [c["label"] for c in results[2]["top"]] == ["n2", "n0"]
    results = classify(Picky(), greys[:1], class_names=[f"class {i}" for i in range(256)])
    assert results[0]["label"] == "class 0"
    with pytest.raises(UsageError, match="256 classes, and 2 names"):
        classify(Picky(), greys[:1], class_names=["a", "b"])


def test_probabilities_that_are_no_numbers_are_an_error(greys):
    target = Picky()
    target.predict = lambda images: Answer(np.full((len(images), 3), np.nan))
    assert "not numbers" in classify(target, greys[:1])[0]["error"]


def predict(monkeypatch, *arguments):
    """The exit code of the command, run here."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    try:
        command.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_table_holds_the_good_and_stderr_the_bad(monkeypatch, capsys, model_directory, mixed):
    arguments, bad = mixed
    assert predict(monkeypatch, model_directory, *arguments, "--top", 2) == 1
    out, err = capsys.readouterr()
    assert all(argument in out for argument in arguments[::2])
    assert not any(argument in out for argument in arguments[1::2])
    lines = err.strip().splitlines()
    assert lines[-1].endswith(
        f"error: {len(bad)} of {len(arguments)} images could not be classified"
    )
    for line, argument, reason in zip(lines[:-1], arguments[1::2], bad.values(), strict=True):
        assert line.startswith(f"{argument}: ") and reason in line


def test_names_in_brackets_stand_in_the_table_as_they_are(
    monkeypatch, capsys, model_directory, photos
):
    file = (photos / "0.png").rename(photos / "[bold]0.png")
    assert predict(monkeypatch, model_directory, file) == 0
    assert "[bold]0.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--top", "0"], "--top is 1 or more, received 0"),
        (["--batch-size", "-3"], "--batch-size is 1 or more"),
        (["--timeout", "nan"], "--timeout is a number of seconds above 0"),
        (["--labels", "missing.txt"], "cannot read the labels in missing.txt"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    monkeypatch, capsys, model_directory, photos, flags, sentence
):
    assert predict(monkeypatch, model_directory, photos, *flags) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and len(err.splitlines()) == 1


def test_a_rest_client_imports_no_tensorflow_and_prints_json_alone(engine, mixed, expected):
    arguments, bad = mixed
    with rest_server(engine) as address:
        done = subprocess.run(
            [*WATCHED, address, "-", *arguments[1:], "--json", "--batch-size", "5"],
            input=Path(arguments[0]).read_bytes(),
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    modules = set(re.findall(r"^import time:.*\| *([\w.]+)$", done.stderr.decode(), re.MULTILINE))
    assert "requests" in modules and not {"tensorflow", "keras"} & modules
    document = json.loads(done.stdout)
    assert (document["model"], document["failed"]) == (address, len(bad))
    assert document["classified"] == len(bad)
    assert document["images"][0]["file"] == "standard input"
    check_agreement(document["images"][::2], np.concatenate([expected, expected[:2]]))


def test_the_command_classifies_with_a_run_and_prints_json_alone(finished_run, photos, expected):
    done = subprocess.run(
        [*COMMAND, finished_run.path, photos, "--json", "--batch-size", "2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    check_agreement(json.loads(done.stdout)["images"], expected)
