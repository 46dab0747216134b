"""A search whose disk is full at any write: one line, no trial lost, and it goes on later."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus
from made_up_search import NARROW, made_up_score
from small_disks import empty, leave

from kerasresnet.disk import NoRoom
from kerasresnet.recipe import Recipe
from tuning.engine.job import Ended, Job, run_job
from tuning.search import images as images_module
from tuning.search import trial as trial_module
from tuning.search.driver import Driver, drive
from tuning.search.oracle import build_oracle
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.trial import train_trial
from tuning.search.view.trials import read_trials

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(max_epochs=4, factor=2, max_params=20_000, data="digits", val_images=144)


@pytest.fixture
def space():
    base = Recipe.named("digits").replace(max_params=20_000, epochs=4, keep="last")
    return Space(base, narrow(NARROW))


def create(folder, space):
    with Project.alone(folder) as project:
        return project.begin(SETTINGS, space)


def reopened(path, space):
    (path / "search").mkdir(exist_ok=True)
    oracle = build_oracle(SETTINGS, space, path / "search")
    oracle.reload()
    return oracle


def take_forward(oracle):
    """Trials with made-up scores until none is left."""
    while (trial := oracle.create_trial("tuner0")).status == TrialStatus.RUNNING:
        values = trial.hyperparameters.values
        score = made_up_score(oracle.networks.recipe(values), values["tuner/epochs"])
        oracle.update_trial(trial.trial_id, {"val_accuracy": score})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)


def test_an_oracle_on_a_full_disk_loses_no_trial(small_disk, tmp_path, space):
    take_forward(whole := reopened(tmp_path, space))
    refusals = 0
    for pages in range(1, 200):  # what is free lasts for a while, and is used up
        leave(4096 * pages, small_disk)
        try:
            take_forward(oracle := reopened(small_disk, space))
            break
        except NoRoom as error:
            refusals += 1
            assert f"there is no room for {small_disk}/search/" in str(error)
    assert refusals >= 3

    def scores(oracle):
        return {trial_id: trial.score for trial_id, trial in oracle.trials.items()}

    assert scores(oracle) == scores(whole) == scores(reopened(small_disk, space))
    assert sorted(oracle.end_order) == sorted(oracle.trials)


def test_a_search_is_refused_without_room_for_its_settings_or_its_images(small_disk, space):
    folder = small_disk / "search"
    leave(0, small_disk)
    with pytest.raises(NoRoom, match=r"no room for .*/search/search\.json; free some"):
        create(folder, space)
    leave(1_000_000, small_disk)
    project = create(folder, space)
    with pytest.raises(NoRoom, match=r"no room for .*/search/images; free some"):
        images_module.search_images(project)
    assert not list(folder.glob("*images*"))
    empty(small_disk)
    assert len(images_module.search_images(project).val[0]) == 144


FULL = [
    NoRoom("the disk is full: there is no room for it; free some"),
    OSError(28, "No space left"),
]


@pytest.mark.parametrize("full", FULL, ids=["ours", "the system's"])
def test_a_full_disk_is_no_failure_of_the_trial_that_finds_it(full, tmp_path, space, monkeypatch):
    folder = create(tmp_path / "search", space).path
    oracle = reopened(tmp_path, space)
    trial = oracle.create_trial("tuner0")
    values = trial.hyperparameters.values
    (folder / "trial_0000" / "run").mkdir()
    (folder / "trial_0000" / "run" / "run.json").write_text('{"status": "running"}')

    def refuse(*_):
        raise full

    monkeypatch.setattr(trial_module, "_train", refuse)
    ended = run_job(Job("0000", train_trial, (folder, "0000", values, "driver")))
    assert type(ended.error) is NoRoom and "the disk is full" in str(ended.error)
    assert '"running"' in (folder / "trial_0000" / "run" / "run.json").read_text()
    with pytest.raises(NoRoom, match="the disk is full"):
        Driver(folder, oracle, None).record(ended)
    assert trial.status == TrialStatus.RUNNING and not oracle.end_order
    assert reopened(tmp_path, space).interrupted == ["0000"]


class FullEngine:
    """An engine whose jobs all find the disk full."""

    slots = 1

    def __init__(self):
        self.jobs = []

    def call_here(self, *job):
        pass

    def submit(self, name, *job):
        self.jobs.append(name)

    def ended(self, seconds):
        yield Ended(self.jobs[-1], error=FULL[0])


def test_a_search_ends_at_once_where_the_disk_is_full_and_says_how_to_go_on(tmp_path, space):
    project, engine = create(tmp_path / "search", space), FullEngine()
    with pytest.raises(NoRoom, match="no room for it; free some, then the same command goes on"):
        drive(project, engine)
    assert engine.jobs == ["0000"]


TINY = """
--data digits --search-dir disk/search --max-params 6000 --train-images 256 --val-images 144
--tuner random --max-trials 2 --max-epochs 1 --plain --set stacks=2 --set block=BB --set blocks=1
--set first_stride=2 --set conv_kernel=3 --set randaugment=0
"""


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 200_000, 1_300_000, 1_400_000])
def test_a_search_on_a_full_disk_goes_on_once_there_is_room(free, small_disk):
    def search():
        return subprocess.run(
            [sys.executable, "-m", "tuning.search", *TINY.split()],
            cwd=small_disk.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )

    leave(free, small_disk)
    done = search()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "disk is full" in line or "No space left" in line
    empty(small_disk)
    done = search()
    assert done.returncode == 0, done.stderr
    trials = read_trials(small_disk / "search")
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2
    assert np.isfinite([trial.score for trial in trials]).all()
