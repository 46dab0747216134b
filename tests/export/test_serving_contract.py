"""What TF Serving would do with an export: answer every good request, survive every bad one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerasresnet.export import export_saved_model


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({}, id="plain"),
        pytest.param({"freeze": True}, id="frozen"),
        pytest.param({"precision": "bfloat16"}, id="bfloat16", marks=pytest.mark.slow),
    ],
)
def answers(request, finished_run, tmp_path_factory):
    path = export_saved_model(finished_run, tmp_path_factory.mktemp("contract"), **request.param)
    return asked(path, files=200)


def asked(path, files):
    """The answers of a process that is asked everything, and then to read damaged files."""
    script = Path(__file__).with_name("serving_contract.py")
    command = [sys.executable, str(script), str(path), str(files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_good_request_is_answered_and_every_bad_one_refused(answers):
    named = [answer for answer in answers if "name" in answer]
    assert len({(answer["name"], answer["signature"]) for answer in named}) > 60
    for answer in named:
        assert ("shapes" in answer) == answer["good"], answer
        if answer["good"]:
            for shape in answer["shapes"].values():
                count = answer["name"].split()[0]
                assert not count.isdigit() or shape[0] == int(count), answer


def test_refusals_say_what_is_wrong(answers):
    said = {answer["name"]: answer["refused"] for answer in answers if "refused" in answer}
    for name, words in {
        "shape (1, 28, 28, 3)": "28",
        "none": "images: at least one",
        "no file": "image_bytes: at least one file",
        "1025 images": "images: at most 1024",
        "10000 files": "image_bytes: at most 1024",
        "value 256": "values are 0 to 255",
        "empty": "a file has 24 bytes to 4 MiB",
        "5 MiB": "a file has 24 bytes to 4 MiB",
        "GIF": "every file is a PNG or a JPEG",
        "WebP": "every file is a PNG or a JPEG",
        "bomb": "an image has 1 to 16777216 pixels",
        "PNG of 2^32 - 1": "an image has 1 to 16777216 pixels",
        "PNG of 4097 x 4096": "an image has 1 to 16777216 pixels",
        "JPEG of 4097 x 4096": "an image has 1 to 16777216 pixels",
        "PNG of many texts": "a PNG has at most 8 compressed texts",
        "PNG of international texts": "a PNG has at most 8 compressed texts",
        "JPEG of many scans": "a JPEG has at most 20 scans",
        "JPEG of 4 MiB of scans": "a JPEG has at most 20 scans",
    }.items():
        assert words in said[name], (name, said[name])


def test_bad_files_take_no_time_and_leave_no_memory(answers):
    took = {}
    for answer in answers:
        if "refused" in answer:
            key = answer["name"], answer["signature"]
            took[key] = min(answer["ms"], took.get(key, np.inf))  # a busy machine is not the file
    assert max(took.values()) < 50, max(took, key=took.get)
    assert answers[-1]["grown_mib"] < 50


@pytest.mark.slow
def test_ten_thousand_damaged_files_end_no_server(finished_run, tmp_path):
    answers = asked(export_saved_model(finished_run, tmp_path), files=10_000)
    assert answers[-1]["slowest_ms"] < 1_000 and answers[-1]["grown_mib"] < 100


def test_the_warm_up_file_is_what_tf_serving_reads(answers):
    pytest.importorskip("tensorflow_serving")
    warm = [(a["name"], a["signature"]) for a in answers if a.get("name", "").startswith("warm")]
    assert warm == [
        (f"warm-up of {size}", signature)
        for size in (1, 8, 32)
        for signature in ("serving_default", "serving_bytes")
    ]


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_it(finished_run, tmp_path):
    path = export_saved_model(finished_run, tmp_path)
    cli = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    where = ["--dir", str(path), "--tag_set", "serve", "--signature_def"]
    shown = subprocess.run([*cli, "show", *where, "serving_bytes"], capture_output=True, text=True)
    assert "inputs['image_bytes']" in shown.stdout and "outputs['label']" in shown.stdout
    np.save(tmp_path / "images.npy", np.zeros((2, 32, 32, 3), np.uint8))
    images = f"images={tmp_path / 'images.npy'}"  # --input_exprs takes no calls any more
    run = subprocess.run(
        [*cli, "run", *where, "serving_default", "--inputs", images],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    assert "Result for output key probabilities" in run.stdout
