"""Images become classes wherever the model is, and a bad one harms no other."""

import contextlib
import io
import json
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from model_servers import Engine, grpc_server, rest_server
from PIL import Image

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.export import export_saved_model
from kerasresnet.predict import __main__ as command
from kerasresnet.predict.classify import classify
from kerasresnet.predict.images import can_go_as_bytes, find_images, to_pixels
from kerasresnet.predict.target import Answer, Refused, open_target
from kerasresnet.runtimes import newest_version

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "kerasresnet.predict"]
WATCHED = [sys.executable, "-X", "importtime", *COMMAND[1:]]


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """The model's directory, with two versions in it and one that is still being written."""
    home = export_saved_model(finished_run, tmp_path_factory.mktemp("served")).parent
    (home / ".tmp-x").mkdir()
    (home / ".tmp-x" / "saved_model.pb").touch()
    return home


@pytest.fixture(scope="module")
def engine(exported):
    return Engine(newest_version(exported))


@pytest.fixture
def photos(tmp_path, digits):
    """Six test images as PNG files of the model's size."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(digits.x_test[:6]):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def expected(finished_run, digits):
    """What the Keras model says of those six."""
    import keras
    from scipy.special import softmax

    model = keras.saving.load_model(finished_run.model_path, compile=False)
    return softmax(model.predict_on_batch(digits.x_test[:6]), axis=1)


def check_agreement(results, expected, labels=None):
    for result, probabilities in zip(results, expected, strict=True):
        ids = [entry["class_id"] for entry in result["top"]]
        found = [entry["probability"] for entry in result["top"]]
        assert len(set(ids)) == 3
        np.testing.assert_allclose(found, probabilities[ids], atol=1e-4)
        np.testing.assert_allclose(found, np.sort(probabilities)[:-4:-1], atol=1e-4)
        assert (result["class_id"], result["probability"]) == (ids[0], found[0])
        if labels:
            assert result["label"] == labels[ids[0]]


@contextlib.contextmanager
def opened(kind, finished_run, exported, engine):
    """One model, in each of the places where a model can be."""
    if kind in ("rest", "grpc"):
        with (rest_server if kind == "rest" else grpc_server)(engine) as address:
            yield open_target(address)
    else:
        places = {
            "model directory": exported,
            "version directory": exported / "1",
            "run": finished_run.path,
            ".keras": finished_run.model_path,
        }
        yield open_target(str(places[kind]))


KINDS = ["model directory", "version directory", "run", ".keras", "rest", "grpc"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_gives_the_models_classes(
    kind, photos, expected, digits, finished_run, exported, engine
):
    with opened(kind, finished_run, exported, engine) as target:
        results = classify(target, find_images([str(photos)]), batch_size=4)
        assert target.image_shape == (32, 32, 3)
    check_agreement(results, expected, digits.labels)
    assert [Path(result["file"]).name for result in results] == [f"{i}.png" for i in range(6)]


@pytest.mark.parametrize("kind", ["model directory", "rest", "grpc"])
def test_files_go_as_they_are_and_pixels_give_the_same(
    kind, photos, expected, finished_run, exported, engine
):
    with opened(kind, finished_run, exported, engine) as target:
        assert target.takes_bytes
        target.takes_bytes = False
        check_agreement(classify(target, find_images([str(photos)])), expected)


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_server_gets_files_in_batches(kind, photos, finished_run, exported, engine):
    with opened(kind, finished_run, exported, engine) as target:
        engine.requests.clear()
        classify(target, find_images([str(photos)]), batch_size=4)
    assert engine.requests == [("serving_bytes", 4), ("serving_bytes", 2)]


def photo(width=200, height=150, mode="RGB"):
    """A smooth picture, each corner another colour."""
    down, across = np.mgrid[0:height, 0:width]
    red, green = 255 * across / (width - 1), 255 * down / (height - 1)
    pixels = np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def noise(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.mark.parametrize("size", [(200, 150), (20, 31), (32, 32), (1, 500)])
def test_an_image_of_any_size_is_scaled_as_the_export_scales_it(size, exported):
    target = open_target(str(exported))
    contents = saved(noise(*size), "PNG")
    as_file = target.predict([contents]).probabilities
    as_pixels = target.predict(to_pixels(contents, target.image_shape)[None]).probabilities
    np.testing.assert_allclose(as_pixels, as_file, atol=1e-3)  # bicubic: 6e-3 and more


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [
        ("PNG", "RGB", 0),
        ("PNG", "P", 60),  # 256 colours
        ("JPEG", "RGB", 8),
        ("JPEG", "CMYK", 40),
        ("GIF", "P", 60),
        ("BMP", "RGB", 0),
        ("WEBP", "RGB", 30),
        ("TIFF", "RGB", 0),
        ("PPM", "RGB", 0),
    ],
)
def test_every_kind_of_image_gives_its_pixels(kind, mode, tolerance):
    wanted = np.asarray(photo().resize((32, 32), Image.Resampling.BILINEAR), int)
    pixels = to_pixels(saved(photo(mode=mode), kind), (32, 32, 3))
    assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3)
    assert np.abs(pixels - wanted).max() <= tolerance


def test_grey_transparent_and_16_bit_images_give_their_pixels():
    grey = np.asarray(photo(32, 32, "L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for image in (photo(32, 32, "L"), photo(32, 32, "LA"), wide):
        pixels = to_pixels(saved(image, "PNG"), (32, 32, 3))
        np.testing.assert_array_equal(pixels, np.repeat(grey[:, :, None], 3, axis=2))
    one = to_pixels(saved(photo(32, 32), "PNG"), (32, 32, 1))
    np.testing.assert_array_equal(one[:, :, 0], grey)


def test_a_photo_taken_sideways_is_turned_first():
    upright = photo(60, 40)
    sideways = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it as it was
    turned = saved(sideways, "JPEG", exif=exif, quality=95)
    plain = saved(upright, "JPEG", quality=95)
    assert can_go_as_bytes(plain) and not can_go_as_bytes(turned)
    difference = np.int32(to_pixels(turned, (32, 32, 3))) - to_pixels(plain, (32, 32, 3))
    assert np.abs(difference).max() < 12


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
    kind, mixed, expected, finished_run, exported, engine
):
    arguments, bad = mixed
    with opened(kind, finished_run, exported, engine) as target:
        results = classify(target, find_images(arguments), batch_size=7)
    assert [result["file"] for result in results] == arguments
    for result, reason in zip(results[1::2], bad.values(), strict=True):
        assert reason in result["error"] and len(result["error"].splitlines()) == 1
    check_agreement(results[::2], np.concatenate([expected, expected[:2]]))


def test_what_is_refused_as_a_file_is_tried_as_pixels(exported, tmp_path):
    """A photo over the export's limit is scaled here."""
    noise(1300, 1300).save(tmp_path / "large.png")
    target = open_target(str(exported))
    with pytest.raises(Refused):
        target.predict([(tmp_path / "large.png").read_bytes()])
    (result,) = classify(target, find_images([str(tmp_path / "large.png")]))
    assert "error" not in result


class Picky:
    """Refuses a batch in which an image's first value is 13, and fails for good after a while."""

    name, image_shape, takes_bytes, labels = "picky", (1, 1, 1), False, None

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
    results = classify(Picky(), greys[:1], labels=[f"class {i}" for i in range(256)])
    assert results[0]["label"] == "class 0"
    with pytest.raises(UsageError, match="256 classes, and 2 labels"):
        classify(Picky(), greys[:1], labels=["a", "b"])


def test_probabilities_that_are_no_numbers_are_an_error(greys):
    target = Picky()
    target.predict = lambda images: Answer(np.full((len(images), 3), np.nan))
    assert "not numbers" in classify(target, greys[:1])[0]["error"]


def test_the_newest_version_is_the_highest_number(tmp_path):
    for name in ("9", "10", "2", ".tmp-11", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path) == tmp_path / "10"
    assert newest_version(tmp_path / "2") == tmp_path / "2"
    (tmp_path / "10" / "saved_model.pb").rename(tmp_path / "10" / "model.tflite")
    assert newest_version(tmp_path) == tmp_path / "10"


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("nowhere", UsageError, "nowhere does not exist"),
        (str(ROOT / "tests"), UsageError, "tests holds no model"),
        ("ftp://host/quick", UsageError, "a server is http://host:8501/v1/models/NAME or grpc://"),
        ("http://host:8501/quick", UsageError, "address is http://host:8501/v1/models/NAME"),
        ("http://host:8501/v1/models/", UsageError, "address is http://host:8501/v1/models/NAME"),
        ("http://127.0.0.1:9/v1/models/quick", KerasResNetError, "no server answers.*refused"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_one_sentence(address, error, sentence):
    with pytest.raises(error, match=sentence) as raised:
        open_target(address)
    assert type(raised.value) is error and len(str(raised.value).splitlines()) == 1


def test_what_a_rest_server_answers_instead_is_told(engine, photos):
    with rest_server(engine) as address:
        assert open_target(address + "/versions/1").name == address + "/versions/1"
        assert open_target(address + ":predict").name == address
        with pytest.raises(KerasResNetError, match=r"no such model .*404, Servable not found"):
            open_target(address.replace("tiny", "none"))
        with pytest.raises(KerasResNetError, match=r"no such model .*404"):
            open_target(address + "/versions/2")
    with (
        rest_server(engine, stall=lambda: time.sleep(0.5)) as address,
        pytest.raises(KerasResNetError, match=r"did not answer within 0\.1 s"),
    ):
        open_target(address, timeout=0.1)
    with (
        rest_server(engine, broken=lambda request: True) as address,
        pytest.raises(KerasResNetError, match="answers 503, The batch scheduling queue is full"),
    ):
        classify(open_target(address), find_images([str(photos)]))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<html>hello</html>", "not with JSON"),
        ('{"a": 1}', "not as TF Serving does"),
        (
            '{"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": '
            '{"x": {"tensor_shape": {"dim": [{"size": "-1"}, {"size": "4"}]}}}}}}}}',
            "is no export of kerasresnet: its serving_default takes x",
        ),
    ],
)
def test_another_web_server_is_no_model(body, sentence, monkeypatch, engine):
    content = body.encode()
    monkeypatch.setattr(json, "dumps", lambda value: SimpleNamespace(encode=lambda: content))
    with (
        rest_server(engine) as address,
        pytest.raises(KerasResNetError, match=sentence),
    ):
        open_target(address)


def test_what_a_grpc_server_answers_instead_is_told(engine):
    with grpc_server(engine) as address:
        open_target(address + "/versions/1")
        with pytest.raises(KerasResNetError, match=r"no such model .*Servable not found"):
            open_target(address + "/versions/2")
        with pytest.raises(KerasResNetError, match=r"no such model .*Servable not found"):
            open_target(address.replace("tiny", "none"))
        with pytest.raises(UsageError, match="address is grpc://host:8500/NAME"):
            open_target(address.removesuffix("/tiny"))
    with pytest.raises(KerasResNetError, match=r"no server answers .*refused"):
        open_target("grpc://127.0.0.1:9/tiny")
    with (
        grpc_server(engine, stall=lambda: time.sleep(0.5)) as address,
        pytest.raises(KerasResNetError, match=r"did not answer within 0\.1 s"),
    ):
        open_target(address, timeout=0.1)


def test_grpc_without_its_package_says_what_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="type pip install tensorflow-serving-api"):
        open_target("grpc://localhost:8500/quick")


def test_folders_are_searched_through_in_order(tmp_path):
    for name in ("b/2.PNG", "b/10.jpeg", "a.gif", "notes.txt", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [source.name for source in find_images([str(tmp_path), str(tmp_path / "notes.txt")])]
    names = ["a.gif", "b/10.jpeg", "b/2.PNG", "notes.txt"]
    assert found == [str(tmp_path / name) for name in names]


def test_standard_input_is_one_image_or_a_list(monkeypatch, photos):
    image = (photos / "0.png").read_bytes()

    def stdin(contents):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(contents)))

    stdin(image)
    (source,) = find_images(["-"])
    assert (source.name, source.read()) == ("standard input", image)
    for end in ("\n", "\0"):
        stdin(end.join(["x.png", "-", "two words.png", ""]).encode())
        names = [source.name for source in find_images(["first.png"], "-")]
        assert names == ["first.png", "x.png", "-", "two words.png"]
    stdin(b"\n")
    for arguments in ((["-"], "-"), (["-", "-"], None), ([], None), ([], "-"), ([], "no-list")):
        with pytest.raises(UsageError):
            find_images(*arguments)


def test_a_name_that_no_terminal_can_print_is_shown_readably(tmp_path):
    (source,) = find_images([str(tmp_path / "a\x1b[31m\udcff.png")])
    assert source.name == str(tmp_path / "a�[31m�.png")


def predict(monkeypatch, *arguments):
    """The exit code of the command, run here."""
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
    try:
        command.main()
    except SystemExit as stop:
        return stop.code
    return 0


def test_the_table_holds_the_good_and_stderr_the_bad(monkeypatch, capsys, exported, mixed):
    arguments, bad = mixed
    assert predict(monkeypatch, exported, *arguments, "--top", 2) == 1
    out, err = capsys.readouterr()
    assert all(argument in out for argument in arguments[::2])
    assert not any(argument in out for argument in arguments[1::2])
    lines = err.strip().splitlines()
    assert lines[-1].endswith(
        f"error: {len(bad)} of {len(arguments)} images could not be classified"
    )
    for line, argument, reason in zip(lines[:-1], arguments[1::2], bad.values(), strict=True):
        assert line.startswith(f"{argument}: ") and reason in line


def test_names_in_brackets_stand_in_the_table_as_they_are(monkeypatch, capsys, exported, photos):
    file = (photos / "0.png").rename(photos / "[bold]0.png")
    assert predict(monkeypatch, exported, file) == 0
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
def test_a_wrong_option_is_told_in_one_line(monkeypatch, capsys, exported, photos, flags, sentence):
    assert predict(monkeypatch, exported, photos, *flags) == 2
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
