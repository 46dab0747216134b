"""A training is logged where people look, without a server."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerasresnet.errors import UsageError
from kerasresnet.fit.log import check_log, logged
from kerasresnet.run import Run

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--data digits --spec stem8s2-BB1x8 --epochs 2 --batch-size 128 --no-export --run-dir run"


def fit(log, folder, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "kerasresnet.fit", *FLAGS.split(), "--log", log],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run.open(folder / "run").results


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow-skinny")
def test_mlflow_has_recipe_epochs_and_test(tmp_path):
    here = {"MLFLOW_TRACKING_URI": f"file:{tmp_path / 'mlruns'}", "MLFLOW_ALLOW_FILE_STORE": "true"}
    results = fit("mlflow", tmp_path, **here)
    (run,) = (path.parent for path in tmp_path.glob("mlruns/*/*/meta.yaml"))
    assert (run / "params" / "spec").read_text() == "stem8s2-BB1x8"
    for name in ("val_accuracy", "learning_rate"):
        rows = [line.split() for line in (run / "metrics" / name).read_text().splitlines()]
        logged = {int(step): float(value) for _, value, step in rows}
        assert logged == pytest.approx({row["epoch"]: row[name] for row in results["epochs"]})
    (row,) = (run / "metrics" / "test_accuracy").read_text().splitlines()
    assert float(row.split()[1]) == pytest.approx(results["test"]["accuracy"])


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_wandb_keeps_a_run_for_later(tmp_path):
    results = fit("wandb", tmp_path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    assert b"val_accuracy" in content and b"stem8s2-BB1x8" in content
    assert repr(results["test"]["accuracy"])[:10].encode() in content


def test_a_log_that_does_not_open_is_one_line(monkeypatch, make_run, tiny_recipe):
    monkeypatch.setitem(sys.modules, "mlflow", None)  # its import fails
    log = logged("mlflow", make_run(tiny_recipe), tiny_recipe)
    with pytest.raises(UsageError, match="--log mlflow does not open: import of mlflow"), log:
        pass


@pytest.mark.parametrize("log", ["wandb", "mlflow"])
def test_what_is_not_installed_is_told_first(log, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf'--log {log} needs pip install "kerasresnet\[{log}\]"'):
        check_log(log)
    check_log("none")
