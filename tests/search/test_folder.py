"""A search of a folder of pictures, as it is typed: from the files to a winner to train."""

import os
import subprocess
import sys
from pathlib import Path

from pictures import write_classes

from kerasresnet.network.budget import count_parameters
from kerasresnet.recipe import Recipe
from tuning.search.view.trials import read_trials

ROOT = Path(__file__).resolve().parents[2]
FLAGS = """
--data pictures --image-size 16 --max-params 6000 --val-images 10 --plain --search-dir search
--tuner random --max-trials 1 --max-epochs 1
--set stacks=2 --set block=BB --set blocks=1 --set conv_kernel=3 --set randaugment=0
"""


def test_a_folder_of_pictures_is_searched(tmp_path):
    write_classes(tmp_path / "pictures", {"cats": 30, "dogs": 20})
    done = subprocess.run(
        [sys.executable, "-m", "tuning.search", *FLAGS.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = read_trials(tmp_path / "search")
    best = Recipe.from_toml(tmp_path / "search" / "report" / "best.toml")
    assert str(best.spec) == str(trial.spec)
    assert best.spec.classes == 2 and tuple(best.spec.input_shape) == (16, 16, 3)
    assert 5_700 <= count_parameters(best.spec) <= 6_000
    # What is printed to train the winner finds the same pictures, at the same size.
    words = done.stdout.split()
    assert str(tmp_path / "pictures") in words and words[words.index("--image-size") + 1] == "16"
