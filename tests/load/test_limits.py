"""A .keras file that would take much more memory than it has bytes is refused before it does."""

import io
import json
import zipfile

import keras
import numpy as np
import psutil
import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.limits import check_keras_file
from kerasresnet.load.predictor import _said, load_predictor


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small network as Keras saves it."""
    layers = [keras.Input((8, 8, 3)), keras.layers.UpSampling2D(2), keras.layers.Conv2D(4, 3)]
    path = tmp_path_factory.mktemp("saved") / "small.keras"
    keras.Sequential(layers).save(path)
    return path


def changed(saved, path, change=lambda name, contents: contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def zipped_zeros(name, contents):
    return contents + bytes(300 << 20) if name == "model.weights.h5" else contents


def hdf5_zeros(name, contents):
    import h5py

    if name != "model.weights.h5":
        return contents
    file = io.BytesIO(contents)
    with h5py.File(file, "a") as weights:
        shape = {"shape": (300 << 18,), "chunks": (1 << 20,)}
        weights.create_dataset("bomb", dtype="float32", compression="gzip", **shape)
    return file.getvalue()


def wide(layer, field, value):
    def change(name, contents):
        if name != "config.json":
            return contents
        config = json.loads(contents)
        for found in config["config"]["layers"]:
            if found["class_name"] == layer:
                found["config"][field] = value
                found["build_config"] = {}
        return json.dumps(config).encode()

    return change


BOMBS = {
    "zip": (zipped_zeros, zipfile.ZIP_DEFLATED, "would take"),
    "HDF5": (hdf5_zeros, zipfile.ZIP_STORED, "would take"),
    "weights": (wide("Conv2D", "filters", 10**9), zipfile.ZIP_STORED, "would take"),
    "activations": (wide("UpSampling2D", "size", [10**4, 10**4]), zipfile.ZIP_STORED, "one image"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(kind, saved, tmp_path):
    change, compression, sentence = BOMBS[kind]
    path = changed(saved, tmp_path / "bomb.keras", change, compression)
    assert path.stat().st_size < 1 << 20
    before = psutil.Process().memory_info().rss
    with pytest.raises(UsageError, match=f"{sentence}.*add --trust"):
        load_predictor(path)
    assert psutil.Process().memory_info().rss - before < 200 << 20


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_keras_saves_passes_and_the_check_leaves_nothing_behind(compression, saved, tmp_path):
    path = changed(saved, tmp_path / "same.keras", compression=compression)
    check_keras_file(path)
    with keras.StatelessScope():
        pass
    images = np.zeros((2, 8, 8, 3), np.uint8)
    found, expected = load_predictor(path), load_predictor(saved, trust=True)
    np.testing.assert_array_equal(found(images), expected(images))
    assert (found.input_shape, found.classes, found.class_names) == ((8, 8, 3), 4, None)


def test_a_run_says_classes_and_data_beside_its_network(finished_run, digits):
    for path in (finished_run.path, finished_run.model_path):
        found = load_predictor(path)
        assert (found.class_names, found.data) == (digits.class_names, "digits")


@pytest.mark.parametrize("contents", [b"", b"nothing", b"PK\3\4" + bytes(100)])
def test_what_is_no_archive_is_told_as_before(contents, tmp_path):
    (tmp_path / "x.keras").write_bytes(contents)
    with pytest.raises(KerasResNetError, match="cannot load"):
        load_predictor(tmp_path / "x.keras")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"labels": ["a"], "data": "digits", "export": {"max_batch": 4}}, ("digits", 4)),
        ({"labels": ["a"], "export": {"max_batch": "many"}}, (None, None)),
        (None, (None, None)),
    ],
)
def test_a_card_says_the_data_and_the_most_images_of_a_request(card, said, tmp_path):
    if card:
        (tmp_path / "model_card.json").write_text(json.dumps(card))
    found = _said(tmp_path)
    assert (found["data"], found["most"]) == said


@pytest.mark.parametrize("card", [{}, [], {"labels": ["a"], "data": ["x"], "export": {}}, "x"])
def test_a_card_that_no_export_wrote_is_told_in_one_line(card, tmp_path):
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    with pytest.raises(KerasResNetError, match=r"model_card\.json is damaged"):
        _said(tmp_path)
