"""python -m kerasresnet.export: what it writes, and what it says to a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kerasresnet.errors import UsageError
from kerasresnet.export.__main__ import ExportOptions, check_options, export


def command(*arguments):
    line = [sys.executable, "-m", "kerasresnet.export", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_it_prints_the_directory_of_the_new_version(finished_run, tmp_path):
    line = (finished_run.path, "--export-dir", tmp_path, "--name", "served")
    refused = command(*line)  # three epochs taught it nothing
    assert refused.returncode == 1 and "learnt nothing: it is right in" in refused.stderr
    done = command(*line, "--force")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "served" / "1")
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()


def test_a_mistake_costs_one_line(finished_run, tmp_path):
    for arguments, words in (
        ((tmp_path / "none",), "none"),
        ((finished_run.path, "--version", "0"), "a version is 1 or more, received 0"),
    ):
        done = command(*arguments, "--export-dir", tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "kerasresnet.export: error: " in done.stderr and words in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [
        {"freeze": True},
        {"precision": "bfloat16"},
        {"measure": True},
        {"tta": "flip"},
        {"max_batch": 4},
        {"max_batch": 0},
        {"version": 0},
    ],
)
def test_a_flag_that_does_not_fit_is_refused_not_ignored(settings):
    with pytest.raises(UsageError, match=r"is not for --format onnx|received 0"):
        check_options(ExportOptions(Path("a-run"), format="onnx", **settings))


@pytest.mark.parametrize("settings", [{"freeze": True}, {"precision": "bfloat16"}])
def test_what_is_measured_stands_beside_the_keras_model(settings, finished_run, tmp_path):
    path = export(ExportOptions(finished_run.path, tmp_path, measure=True, **settings))
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    reached = card["test_accuracy_of_this_export"]
    assert reached["keras"] == finished_run.results["test"]["accuracy"]
    assert reached["export"] == pytest.approx(reached["keras"], abs=0.02)
    assert card["export"]["frozen"]


def test_another_format_has_a_name_of_its_own_and_a_card(finished_run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = export(ExportOptions(finished_run.path, tmp_path, format="litert"))
    assert path == tmp_path / "tiny-litert" / "1" / "model.tflite"
    card = json.loads((path.parent / "model_card.json").read_text())
    assert card["data"] == "digits" and card["export"] == {"format": "litert"}
    assert "- **Export:** format litert" in (path.parent / "model_card.md").read_text()


def test_a_run_without_a_model_is_refused(make_run, tiny_recipe, tmp_path):
    run = make_run(tiny_recipe)
    with pytest.raises(UsageError, match="its first epoch is not finished"):
        export(ExportOptions(run.path, tmp_path / "served"))


def test_an_export_says_and_keeps_how_many_images_a_request_may_hold(finished_run, tmp_path):
    import numpy as np
    import tensorflow as tf

    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path

    path = export(ExportOptions(finished_run.path, tmp_path, max_batch=4, measure=True))
    card = json.loads((path / "assets.extra" / "model_card.json").read_text())
    assert card["export"]["max_batch"] == 4
    served = tf.saved_model.load(str(path)).signatures
    for count in (4, 5):
        images = np.zeros((count, 32, 32, 3), np.uint8)
        files = [tf.io.encode_png(image) for image in images]
        for ask in (
            lambda images=images: served["serving_default"](images=tf.constant(images)),
            lambda images=images: served["logits"](images=tf.constant(images)),
            lambda images=images: served["serving_int32"](images=tf.constant(images, tf.int32)),
            lambda files=files: served["serving_bytes"](image_bytes=tf.stack(files)),
        ):
            if count == 4:
                ask()
                continue
            with pytest.raises(tf.errors.InvalidArgumentError, match="at most 4"):
                ask()
    metrics = evaluate_path(EvaluateOptions(path))
    assert (metrics["data"], metrics["images"]) == ("digits", 360)
