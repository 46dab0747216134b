"""Other runtimes get the network that was trained, or nothing and a sentence."""

import importlib.util

import numpy as np
import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.export import formats
from kerasresnet.export.card import model_card
from kerasresnet.export.formats import export_format, servable
from kerasresnet.load.runtimes import FORMATS, load_format

CLASS_NAMES = tuple(f"class {i}" for i in range(10))
FLOAT32 = [name for name in FORMATS if name != "litert-int8"]


def needs(name):
    for module in FORMATS[name].modules:
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def model(finished_run):
    import keras

    return keras.saving.load_model(finished_run.model_path, compile=False)


@pytest.fixture(scope="module")
def written(model, digits, tmp_path_factory):
    """A function that exports the finished run once in each format."""
    home, found = tmp_path_factory.mktemp("formats"), {}

    def write(name):
        needs(name)
        if name not in found:
            found[name] = export_format(
                model, name, home / name, class_names=CLASS_NAMES, calibration=digits.x_train
            )
        return found[name]

    return write


def probabilities(model, images):
    import keras

    return keras.ops.convert_to_numpy(keras.ops.softmax(model(images, training=False)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_library_is_named_with_what_to_type(model, name, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    extra = name.partition("-")[0]
    said = rf'{FORMATS[name].modules[-1]}, not .* pip install "kerasresnet\[{extra}\]"$'
    with pytest.raises(UsageError, match=said):
        export_format(
            model, name, tmp_path / "out", class_names=CLASS_NAMES, calibration=digits.x_train[:64]
        )
    (tmp_path / FORMATS[name].file).touch()
    with pytest.raises(UsageError, match=r"pip install"):
        load_format(tmp_path)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": "onxx"}, "unknown format 'onxx': did you mean 'onnx'"),
        ({"class_names": CLASS_NAMES[:9]}, "10 classes, and 9 names"),
        ({"calibration": None}, r"needs training images .* uint8 \[K, 32, 32, 3\]"),
        ({"calibration": np.zeros((64, 32, 32, 1), np.uint8)}, r"received uint8 \[64, 32, 32, 1\]"),
        ({"calibration": np.zeros((64, 32, 32, 3))}, "received float64"),
        ({"calibration": np.zeros((31, 32, 32, 3), np.uint8)}, "32 training images .* received 31"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(model, tmp_path, change, said):
    asked = {
        "format": "litert-int8",
        "class_names": CLASS_NAMES,
        "calibration": np.zeros((64, 32, 32, 3), np.uint8),
    }
    with pytest.raises(UsageError, match=said):
        export_format(model, home=tmp_path / "home", **(asked | change))
    assert not list(tmp_path.iterdir())


def test_what_exists_is_never_overwritten(model, tmp_path):
    needs("litert")
    (tmp_path / "3").mkdir()
    with pytest.raises(UsageError, match="never overwritten"):
        export_format(model, "litert", tmp_path, class_names=CLASS_NAMES, version=3)
    assert (
        export_format(model, "litert", tmp_path, class_names=CLASS_NAMES).parent == tmp_path / "4"
    )


def test_what_is_no_export_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    for path in (tmp_path, tmp_path / "saved_model.pb", tmp_path / "none"):
        with pytest.raises(UsageError, match=r"holds no model\.onnx or model\.tflite or model"):
            load_format(path)


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def fresh(request, tiny_recipe):
    """An untrained network, built under a precision policy."""
    import keras

    from kerasresnet.network.build import build_model

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    try:
        return build_model(tiny_recipe.spec)
    finally:
        keras.config.set_dtype_policy(before)


def test_the_exported_copy_gives_probabilities_in_float32(fresh, digits):
    import keras

    copy = servable(fresh)
    images = digits.x_test[:32]
    given = keras.ops.convert_to_numpy(copy(images)["probabilities"])
    mixed = any(layer.compute_dtype == "bfloat16" for layer in fresh.layers)
    np.testing.assert_allclose(
        given, probabilities(fresh, images), atol=0.05 if mixed else 1e-6, rtol=0
    )
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert not any(isinstance(layer, keras.layers.Normalization) for layer in copy.layers)


def test_a_network_trained_in_mixed_precision_is_exported_too(fresh, digits, tmp_path):
    needs("onnx")
    path = export_format(
        fresh, "onnx", tmp_path, class_names=CLASS_NAMES, calibration=digits.x_test
    )
    given, expected = load_format(path)(digits.x_test), probabilities(fresh, digits.x_test)
    np.testing.assert_allclose(given, expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", FLOAT32)
def test_a_float32_file_gives_the_models_probabilities_for_any_batch(written, model, name, digits):
    path = written(name)
    predictor = load_format(path)
    assert (predictor.input_shape, predictor.class_names) == ((32, 32, 3), CLASS_NAMES)
    expected = probabilities(model, digits.x_test)
    for size in (0, 1, 7, 256, 3):
        given = predictor(digits.x_test[:size])
        assert given.dtype == np.float32 and given.shape == (size, 10)
        np.testing.assert_allclose(given, expected[:size], atol=1e-5)


def test_an_int8_file_is_int8_and_keeps_the_classes(written, model, digits):
    path = written("litert-int8")
    given = load_format(path.parent)(digits.x_test)
    expected = probabilities(model, digits.x_test)
    assert (given.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    np.testing.assert_allclose(given, expected, atol=0.05)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)  # softmax in float32

    from ai_edge_litert.interpreter import Interpreter

    # Convolutions' kernels and activations; only the pixels and what they are scaled to are not.
    images = [d for d in Interpreter(str(path)).get_tensor_details() if len(d["shape"]) == 4]
    others = [d["name"] for d in images if d["dtype"] != np.int8]
    assert len(images) > 15 and len(others) <= 4, others


def test_openvino_computes_in_bfloat16_when_asked(written, model, digits):
    path = written("openvino")
    expected = probabilities(model, digits.x_test)
    given = load_format(path, precision="bfloat16")(digits.x_test)
    assert (given.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.97


@pytest.mark.parametrize("name", FORMATS)
def test_a_directory_holds_the_model_its_labels_and_nothing_else(written, name):
    path = written(name)
    expected = {"labels.txt", FORMATS[name].file} | ({"model.bin"} if name == "openvino" else set())
    assert {p.name for p in path.parent.iterdir()} == expected
    assert not list(path.parent.parent.glob(".tmp-*"))


@pytest.mark.parametrize("name", ["onnx", "litert-int8"])
def test_a_file_that_differs_from_the_model_is_not_kept(model, name, digits, tmp_path, monkeypatch):
    needs(name)
    monkeypatch.setattr(formats, "TOLERANCE", float("nan"))
    monkeypatch.setattr(formats, "LOSS", float("nan"))
    with pytest.raises(KerasResNetError, match="nothing was written"):
        export_format(
            model, name, tmp_path, class_names=CLASS_NAMES, calibration=digits.x_train[:64]
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_images_of_another_shape_and_damaged_files_get_a_sentence(written, name, digits, tmp_path):
    predictor = load_format(written(name))
    for wrong in (digits.x_test[:2, :28], digits.x_test[0], digits.x_test[:2] / 255):
        with pytest.raises(UsageError, match=r"images must be uint8 images \[N, 32, 32, 3\], rec"):
            predictor(wrong)
    (tmp_path / "labels.txt").write_text("a\n")
    (tmp_path / FORMATS[name].file).write_bytes(b"nothing")
    with pytest.raises(KerasResNetError, match="cannot load"):
        load_format(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_predict_and_evaluate_take_it_as_they_take_a_saved_model(written, model, name, digits):
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path
    from kerasresnet.predict.target import open_target

    version = written(name).parent
    target = open_target(str(version))
    images = digits.x_test[:64]
    given = target.predict(images).probabilities
    assert (target.image_shape, target.takes_bytes, target.class_names) == (
        (32, 32, 3),
        False,
        CLASS_NAMES,
    )
    assert (given.argmax(axis=1) == probabilities(model, images).argmax(axis=1)).mean() > 0.9
    # "class 0" is not what the digits are called.
    with pytest.raises(UsageError, match=r"tells class 0, .* apart, which digits does not have"):
        evaluate_path(EvaluateOptions(version, data="digits"))


def test_evaluate_measures_the_newest_version_on_the_whole_test_set(
    finished_run, model, digits, tmp_path
):
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    needs("litert")
    card = model_card(finished_run, digits.class_names, {"format": "litert"})
    for _ in range(2):
        path = export_format(model, "litert", tmp_path, class_names=digits.class_names, card=card)
    (tmp_path / "1" / "model.tflite").write_bytes(b"nothing")
    measured = evaluate_path(EvaluateOptions(tmp_path))
    assert evaluate_path(EvaluateOptions(path)) == measured | {"path": str(path)}
    assert measured["data"] == "digits"
    assert measured["images"] == len(digits.x_test)
    assert measured["accuracy"] == pytest.approx(finished_run.results["test"]["accuracy"], abs=0.01)


def test_bfloat16_is_openvinos_alone(written):
    with pytest.raises(UsageError, match="bfloat16 is for OpenVINO alone"):
        load_format(written("onnx"), precision="bfloat16")


@pytest.mark.parametrize("name", ["onnx", "litert-int8"])
def test_converters_print_nothing_and_warn_of_nothing(
    model, name, digits, tmp_path, capfd, recwarn
):
    needs(name)
    export_format(model, name, tmp_path, class_names=CLASS_NAMES, calibration=digits.x_train[:64])
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert not [w for w in recwarn if w.category in (UserWarning, FutureWarning)]
