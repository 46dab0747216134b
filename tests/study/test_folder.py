"""A study of a folder of pictures, as it is typed: each training finds them by itself."""

import subprocess
import sys
from pathlib import Path

from pictures import write_classes

from kerasresnet.run import Run

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--data pictures --image-size 16 --seeds 1 --epochs 1 --plain --dir study"


def test_a_folder_of_pictures_is_studied(tmp_path, monkeypatch, tiny_recipe):
    write_classes(tmp_path / "pictures", {"cats": 40, "dogs": 30})
    (tmp_path / "tiny.toml").write_text(tiny_recipe.replace(batch_size=16).to_toml())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    flags = [*FLAGS.split(), "--base", "tiny.toml", "--vary", "batch_size=16"]
    done = subprocess.run(
        [sys.executable, "-m", "tuning.study", *flags], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "study" / "runs").iterdir()
    run = Run.open(folder)
    assert run.results["labels"] == ["cats", "dogs"]
    assert run.recipe.spec.classes == 2 and tuple(run.recipe.spec.input_shape) == (16, 16, 3)
    assert run.facts["data"] == str(tmp_path / "pictures")
