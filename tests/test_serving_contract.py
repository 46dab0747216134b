"""What TF Serving would do with an export: answer every good request, survive every bad one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kerasresnet.export import export_saved_model


@pytest.fixture(scope="module", params=[{}, {"freeze": True}], ids=["plain", "frozen"])
def answers(request, finished_run, tmp_path_factory):
    path = export_saved_model(finished_run, tmp_path_factory.mktemp("contract"), **request.param)
    script = Path(__file__).with_name("serving_contract.py")
    done = subprocess.run(
        [sys.executable, str(script), str(path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_good_request_is_answered_and_every_bad_one_refused(answers):
    asked = [answer for answer in answers if "name" in answer]
    assert len({(answer["name"], answer["signature"]) for answer in asked}) > 60
    for answer in asked:
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
        "value 256": "values are 0 to 255",
        "empty": "a file has 24 bytes to 4 MiB",
        "5 MiB": "a file has 24 bytes to 4 MiB",
        "GIF": "every file is a PNG or a JPEG",
        "WebP": "every file is a PNG or a JPEG",
        "bomb": "an image has 1 to 16777216 pixels",
        "PNG of 2^32 - 1": "an image has 1 to 16777216 pixels",
    }.items():
        assert words in said[name], (name, said[name])


def test_bad_files_take_no_time_and_leave_no_memory(answers):
    bad = [a["ms"] for a in answers if "refused" in a and a["signature"] == "serving_bytes"]
    assert sorted(bad)[len(bad) // 2] < 50
    assert answers[-1]["grown_mib"] < 50


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
    images = "images=np.zeros((2, 32, 32, 3), dtype=np.uint8)"
    run = subprocess.run(
        [*cli, "run", *where, "serving_default", "--input_exprs", images],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2_000:]
    assert "Result for output key probabilities" in run.stdout
