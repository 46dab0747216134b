"""What is exported equals the model, is published whole or not at all, and refuses bad input."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.export import export_saved_model, publish, saved_model
from kerasresnet.export.card import model_card, write_card
from kerasresnet.run import Run


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    return export_saved_model(finished_run, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def signature(exported):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(exported))
    serve = loaded.signatures["serving_default"]
    serve.loaded = loaded
    return serve


def test_it_gives_the_probabilities_ids_and_labels_of_the_model(signature, finished_run, digits):
    import keras
    import tensorflow as tf

    images = digits.x_test[:50]
    logits = keras.saving.load_model(finished_run.model_path).predict(images, verbose=0)
    served = signature(images=tf.constant(images))
    np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(logits), atol=1e-5)
    ids = served["class_id"].numpy()
    np.testing.assert_array_equal(ids, logits.argmax(axis=1))
    assert [name.decode() for name in served["label"].numpy()] == [
        digits.class_names[i] for i in ids
    ]


def test_it_loads_where_neither_keras_nor_this_package_is_imported(exported):
    code = (
        "import sys, tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(exported)!r})\n"
        "images = tf.zeros([3, 32, 32, 3], tf.uint8)\n"
        "served = loaded.signatures['serving_default'](images=images)\n"
        "assert served['probabilities'].shape == (3, 10)\n"
        "assert 'kerasresnet' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_variables_are_stored_once(exported, finished_run):
    import keras
    import tensorflow as tf

    from kerasresnet.export.fold import fold_batch_norm

    stored = tf.train.list_variables(str(exported / "variables" / "variables"))
    held = sum(int(np.prod(shape)) for name, shape in stored if name.endswith("VARIABLE_VALUE"))
    folded = fold_batch_norm(keras.saving.load_model(finished_run.model_path, compile=False))
    assert held == folded.count_params()


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 28, 28, 3), (1, 32, 32, 1)])
def test_a_wrong_shape_is_refused_where_nobody_checks_it_before(exported, shape):
    # As TF Serving runs it: a session that feeds the tensor by name.
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(exported))
        signature = loaded.signature_def["serving_default"]
        run = _callable(session, signature)
        assert run(np.zeros((2, 32, 32, 3), np.uint8))[0].shape == (2, 10)
        with pytest.raises(tf.errors.InvalidArgumentError, match="compatible"):
            run(np.zeros(shape, np.uint8))


def _callable(session, signature):
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions()
    options.feed.append(signature.inputs["images"].name)
    options.fetch.append(signature.outputs["probabilities"].name)
    return session._make_callable_from_options(options)


def test_an_export_is_not_measured_on_data_with_other_classes(exported, monkeypatch, digits):
    import dataclasses

    import kerasresnet.data
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    other = dataclasses.replace(digits, name="other", class_names=tuple("abcdefghij"))
    monkeypatch.setattr(kerasresnet.data, "load_again", lambda *args, **settings: other)
    with pytest.raises(UsageError, match="which other does not have; choose another --data"):
        evaluate_path(EvaluateOptions(exported))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("cat", *"123456789"), "tells cat apart, which digits does not have"),
        (tuple("1023456789"), "has the classes of digits in another order"),
    ],
)
def test_no_network_is_measured_on_classes_that_are_not_its_own(names, sentence, digits):
    from pathlib import Path

    from kerasresnet.evaluate.__main__ import check_classes
    from kerasresnet.load.predictor import Predictor

    check_classes(Predictor(None, (32, 32, 3), 10), digits, Path("run"))  # nothing is known
    check_classes(Predictor(None, (32, 32, 3), 10, tuple(digits.class_names)), digits, Path("run"))
    with pytest.raises(UsageError, match=f"run {sentence}"):
        check_classes(Predictor(None, (32, 32, 3), 10, names), digits, Path("run"))


def test_the_next_free_version_is_taken_and_none_overwritten(finished_run, tmp_path):
    assert export_saved_model(finished_run, tmp_path) == tmp_path / "tiny" / "1"
    assert export_saved_model(finished_run, tmp_path, version=7) == tmp_path / "tiny" / "7"
    assert export_saved_model(finished_run, tmp_path) == tmp_path / "tiny" / "8"
    with pytest.raises(UsageError, match="never overwritten"):
        export_saved_model(finished_run, tmp_path, version=7)


def test_an_export_is_found_by_the_weights_and_settings_on_its_card(finished_run, tmp_path):
    home = tmp_path / "tiny"
    asked = {"model_sha256": finished_run.model_checksum(), "export": {"precision": "float32"}}
    assert publish.find_version(home, asked) is None
    for version, changes in {
        2: {},
        10: {"model_sha256": "0" * 64},
        11: {"export": {"precision": "bfloat16"}},
    }.items():
        card = model_card(finished_run, list("0123456789"), asked["export"]) | changes
        (home / str(version)).mkdir(parents=True)
        write_card(card, home / str(version) / "assets.extra")
    (home / "12").mkdir()  # without a card, and one that is damaged
    shutil.copytree(home / "2", home / "13")
    (home / "13" / "assets.extra" / "model_card.json").write_text("[]")
    assert publish.find_version(home, asked) == home / "2"


def test_parallel_exports_to_one_name_all_arrive(tmp_path):
    home = tmp_path / "model"
    folders = [home / f".tmp-{i}" for i in range(8)]
    for i, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(str(i))
    threads = [
        threading.Thread(target=publish.publish, args=(folder, home, None)) for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    published = {path.name: (path / "saved_model.pb").read_text() for path in home.iterdir()}
    assert set(published) == {str(i) for i in range(1, 9)}
    assert set(published.values()) == {str(i) for i in range(8)}


def test_an_export_that_differs_from_the_model_is_not_published(
    finished_run, tmp_path, monkeypatch
):
    monkeypatch.setitem(saved_model.TOLERANCE, "float32", float("nan"))
    with pytest.raises(KerasResNetError, match="nothing was published"):
        export_saved_model(finished_run, tmp_path)
    assert not list((tmp_path / "tiny").iterdir())


def test_a_plain_model_exports_with_its_labels(tmp_path, tiny_recipe):
    from kerasresnet.network.build import build_model

    model = build_model(tiny_recipe.spec)
    with pytest.raises(UsageError, match="10 classes, and 2 names"):
        export_saved_model(model, tmp_path, labels=["a", "b"])
    assert export_saved_model(model, tmp_path, name="plain") == tmp_path / "plain" / "1"


def test_the_card_says_what_it_is_and_what_it_reached(finished_run, digits, tmp_path):
    path = export_saved_model(finished_run, tmp_path, measure_on=digits)
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert card["network"] == "stem8s2-BB1x8-BN1x4"
    assert card["accuracy"]["test"] == finished_run.results["test"]["accuracy"]
    reached = card["test_accuracy_of_this_export"]
    assert reached["export"] == reached["keras"] == card["accuracy"]["test"]
    assert reached["images"] == 360
    text = (path / "assets.extra" / "model_card.md").read_text()
    assert "CC BY" in text and f"{reached['export']:.2%}" in text
    assert (path / "assets" / "labels.txt").read_text().splitlines() == list(digits.class_names)


@pytest.mark.parametrize("settings", [{"freeze": True}, {"precision": "bfloat16"}])
def test_frozen_exports_need_no_variables_and_agree(settings, finished_run, digits, tmp_path):
    import tensorflow as tf

    plain, frozen = (
        tf.saved_model.load(str(export_saved_model(finished_run, tmp_path, **kind)))
        for kind in ({}, settings)
    )
    stored = tf.train.list_variables(str(tmp_path / "tiny" / "2" / "variables" / "variables"))
    assert not [name for name, _ in stored if name.endswith("VARIABLE_VALUE")]
    images = tf.constant(digits.x_test[:100])
    ours, theirs = (
        loaded.signatures["serving_default"](images=images)["probabilities"]
        for loaded in (plain, frozen)
    )
    atol = 0.05 if "precision" in settings else 1e-5
    np.testing.assert_allclose(ours, theirs, atol=atol)
    assert np.mean(np.argmax(ours, 1) == np.argmax(theirs, 1)) > 0.95
    # bfloat16 really computes in it.
    assert ("precision" in settings) == (float(np.abs(ours - theirs).max()) > 1e-4)


@pytest.mark.parametrize("settings", [{}, {"precision": "bfloat16"}])
def test_with_tta_an_export_answers_with_the_mean_over_mirror_images(
    settings, finished_run, digits, tmp_path
):
    import keras
    import tensorflow as tf

    path = export_saved_model(finished_run, tmp_path, tta="flip", measure_on=digits, **settings)
    model = keras.saving.load_model(finished_run.model_path)
    images = digits.x_test[:50]
    mean = (model.predict(images, verbose=0) + model.predict(images[:, :, ::-1], verbose=0)) / 2
    served = tf.saved_model.load(str(path)).signatures
    atol = 0.05 if settings else 1e-5
    probabilities = served["serving_default"](images=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(probabilities, tf.nn.softmax(mean), atol=atol)
    files = tf.stack([tf.io.encode_png(image) for image in images])
    probabilities = served["serving_bytes"](image_bytes=files)["probabilities"]
    np.testing.assert_allclose(probabilities, tf.nn.softmax(mean), atol=atol)
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert card["export"]["tta"] == "flip"
    expected = finished_run.results["test"]["tta"]["flip"]["accuracy"]
    assert card["test_accuracy_of_this_export"]["keras"] == expected
    assert card["accuracy"]["test_with_mirror_image"] == expected
    assert "twice the multiply" in (path / "assets.extra" / "model_card.md").read_text()


@pytest.fixture
def calibrated_run(finished_run, tmp_path):
    """The run as if its validation images had been enough to fit a temperature on."""
    path = tmp_path / "calibrated"
    shutil.copytree(finished_run.path, path)
    results = json.loads((path / "results.json").read_text())
    errors = {"test_error": 0.2, "test_error_after": 0.01}
    results["calibration"] = {"temperature": 0.5, "images": 300, **errors}
    (path / "results.json").write_text(json.dumps(results))
    return Run.open(path)


def test_an_export_is_as_sure_as_its_run_is_right(calibrated_run, digits, tmp_path):
    import keras
    import tensorflow as tf

    images = digits.x_test[:50]
    logits = keras.saving.load_model(calibrated_run.model_path).predict(images, verbose=0)
    for calibrated, divisor in ((True, 0.5), (False, 1)):
        path = export_saved_model(calibrated_run, tmp_path / "served", calibrated=calibrated)
        served = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(images))
        expected = tf.nn.softmax(logits / divisor)
        np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)
        np.testing.assert_array_equal(served["class_id"], logits.argmax(axis=1))
        card = json.loads((path / "assets.extra" / "model_card.json").read_text())
        text = (path / "assets.extra" / "model_card.md").read_text()
        assert card["export"].get("temperature") == (0.5 if calibrated else None)
        assert ("1.0%, without it 20.0%" in text) == calibrated
        assert ("are not calibrated" in text) == (not calibrated)


def test_a_run_with_few_validation_images_is_exported_as_it_is(finished_run, exported):
    assert finished_run.results.get("calibration") is None
    card = json.loads((exported / "assets.extra" / "model_card.json").read_text())
    assert "temperature" not in card["export"]
    text = (exported / "assets.extra" / "model_card.md").read_text()
    held_out = finished_run.results["images"]["val"]
    assert "not calibrated: a temperature takes 200 validation images" in text
    assert f"and this run had {held_out} " in text


def test_evaluate_measures_tta_beside_the_plain_network(finished_run, exported):
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    for path in (finished_run.path, exported):
        metrics = evaluate_path(EvaluateOptions(path, data="digits", tta="flip"))
        expected = finished_run.results["test"]
        assert metrics["accuracy"] == pytest.approx(expected["accuracy"], abs=0.003)
        found, expected = (m["tta"]["flip"]["accuracy"] for m in (metrics, expected))
        assert found == pytest.approx(expected, abs=0.003)


def test_evaluation_agrees_for_run_keras_file_and_saved_model(finished_run, exported):
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    expected = finished_run.results["test"]
    for path in (finished_run.path, finished_run.model_path, exported):
        metrics = evaluate_path(EvaluateOptions(path, data="digits"))
        assert metrics["accuracy"] == pytest.approx(expected["accuracy"], abs=0.003)
        assert metrics["loss"] == pytest.approx(expected["loss"], abs=1e-3)
        assert set(metrics["per_class"]) == set(expected["per_class"])


def evaluate(*arguments):
    command = [sys.executable, "-m", "kerasresnet.evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_evaluate_prints_json_alone(finished_run):
    result = evaluate(finished_run.path, "--json")
    assert result.returncode == 0, result.stderr
    metrics = json.loads(result.stdout)
    assert metrics["data"] == "digits" and metrics["images"] == 360
    assert sum(map(sum, metrics["confusion"])) == 360


def test_evaluate_refuses_what_is_no_model_in_one_line(tmp_path):
    (tmp_path / "broken.keras").write_text("nothing")
    for path, code in ((tmp_path, 2), (tmp_path / "none", 2), (tmp_path / "broken.keras", 1)):
        result = evaluate(path)
        assert result.returncode == code
        assert len(result.stderr.strip().splitlines()) == 1
        assert "kerasresnet.evaluate: error: " in result.stderr
