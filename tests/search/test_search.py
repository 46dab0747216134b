"""The search as a command: from flags to a report, through kills, with clear refusals."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from kerasresnet.recipe import Recipe
from tuning.search import __main__ as search_module
from tuning.search.options import parse_search_options
from tuning.search.view.trials import best_trial, read_trials

ROOT = Path(__file__).resolve().parents[2]
SEARCH = [sys.executable, "-m", "tuning.search"]
# A search of seconds: two stacks of narrow blocks at a quarter of the resolution.
TINY_FLAGS = """
--data digits --search-dir search --max-params 6000 --train-images 256 --val-images 144 --plain
--set stacks=2 --set block=BB --set blocks=1 --set first_stride=2 --set conv_kernel=3
--set randaugment=0
"""
TINY = TINY_FLAGS.split()


def search(*flags, cwd, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*SEARCH, *flags], cwd=cwd, env=environment, capture_output=True, text=True, **settings
    )


def refused(flags, cwd, monkeypatch, capsys):
    """What the command prints on stderr where it must end with exit code 2."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["search", *flags])
    with pytest.raises(SystemExit) as stop:
        search_module.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("tuning.search: error: ")
    return line


BAD = {
    "--max-params 50": "no network of the space uses 95% to 100% of 50 parameters",
    "--max-macs 1000": "and at most 1,000 MACs",
    "--set blocks=4..2": "leaves nothing",
    "--set blocks=": "leaves nothing",
    "--set blocks": "--set takes NAME=VALUES such as blocks=1,2, received 'blocks'",
    "--set block=XX": "XX",
    "--set conv_kernel=4": "must be odd",
    "--set colour=red": "unknown dimension 'colour'",
    "--set optimizer=sdg": "did you mean 'sgd'",
    "--space missing.toml": "cannot read space missing.toml",
    "--space broken.toml": "space broken.toml is not valid TOML",
    "--recipe quack": "did you mean 'quick'",
    "--train-best quack": "did you mean 'quick'",
    "--workers 0": "--workers is 1 or more, received 0",
    "--cpus-per-trial 2": "--cpus-per-trial and --gpus-per-trial are for --ray",
    "--ray auto --workers 2": "--workers is for one machine; with --ray, --cpus-per-trial",
    "--ray auto --cpus-per-trial 0": "0 or more and not both 0, received 0 and 0",
    "--ray auto --gpus-per-trial -1": "received 1 and -1",
    "--max-epochs 0": "received 0",
    "--factor 1": "received 1",
    "--max-epoch-seconds 0": "max_epoch_seconds: ",
    "--set stem=whiten9": "stem=whiten9: ",
    "--set resolution=24:1": "ends at the full size of the network, 32",
    "--tuner grid": "grid",
    "--search-dir precious": "precious is no search of ours",
    "--report precious": "precious is no search",
    "--report nowhere": "nowhere does not exist",
}


@pytest.mark.parametrize(
    ("flags", "command"),
    [
        ([], "--recipe report/best.toml"),
        (["--data", "digits"], "--recipe report/best.toml --data digits"),
        (["--data-dir", "my data"], "--recipe report/best.toml --data-dir 'my data'"),
    ],
)
def test_the_command_that_trains_the_winner_carries_its_data(flags, command, monkeypatch, capsys):
    best = SimpleNamespace(spec="BB1x8", parameters=5, score=0.5, epochs=1)
    monkeypatch.setattr(search_module, "best_trial", lambda trials: best)
    monkeypatch.setattr(search_module, "read_trials", lambda path: [])
    monkeypatch.setattr(search_module, "write_report", lambda path, folder: [])
    options = parse_search_options(["--report-to", "report", *flags])
    settings = SimpleNamespace(data=options.data, data_settings=None)
    project = SimpleNamespace(path=Path("search"), settings=settings)
    assert search_module._finish(project, options) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"  python -m kerasresnet.fit {command}"


@pytest.mark.parametrize("flags", BAD)
def test_bad_input_is_one_line_exit_code_2_and_nothing_deleted(
    flags, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken.toml").write_text("blocks = = 3")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    assert BAD[flags] in refused(flags.split(), tmp_path, monkeypatch, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.toml", "precious"]
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "years of work"


def test_every_dimension_is_listed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["search", "--list-space", "--set", "blocks.2=7"])
    search_module.main()
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("block.1", "growth.2", "adamw.weight_decay"))
    assert "7" in next(line for line in listed.splitlines() if "blocks.2" in line)


def test_from_flags_to_a_recipe_that_fit_takes(tmp_path, monkeypatch, capsys):
    flags = [*TINY, "--tuner", "random", "--max-trials", "2", "--max-epochs", "1"]
    done = search(*flags, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    trials = read_trials(tmp_path / "search")
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2
    winner = Recipe.load(tmp_path / "search" / "report" / "best.toml")
    assert winner.spec.to_text() == best_trial(trials).spec
    assert f"best: {winner.spec}" in done.stdout
    assert "--recipe search/report/best.toml" in done.stdout
    # Other settings in the same place are refused, and what is there stays.
    line = refused([*flags, "--seed", "7"], tmp_path, monkeypatch, capsys)
    assert "seed is 0 there and 7 here" in line
    assert len(read_trials(tmp_path / "search")) == 2


ONE_NETWORK = """
--set growth=2 --set stem=conv --set stem_kernel=3 --set stem_width=1 --set down=stride
--set shortcut_kernel=1
"""


@pytest.mark.slow
def test_a_limit_of_time_that_no_network_meets_begins_no_search(tmp_path):
    flags = [*TINY, *ONE_NETWORK.split(), "--max-epoch-seconds", "0.000001"]
    done = search(*flags, cwd=tmp_path, timeout=300)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "none of 30 networks drawn trains an epoch in 1e-06 s; the quickest, BB1x" in line
    assert not list(tmp_path.glob("search/trial_*"))
    assert not (tmp_path / "search" / "oracle.json").exists()
    (row,) = json.loads((tmp_path / "search" / "epoch_times.json").read_text())
    assert row["step_seconds"] > 0 and row["steps"] == 256 // 32  # timed once, drawn 30 times


def finished(folder):
    """Whether a search is whole: every trial done, every file readable."""
    oracle = json.loads((folder / "oracle.json").read_text())
    trials = read_trials(folder)
    assert oracle["trials"] == len(trials)
    assert oracle["ongoing_trials"] == {}
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for trial in trials:  # no epoch was trained twice
        assert [row["epoch"] for row in trial.rows] == list(range(1, trial.epochs_done + 1))
    return {trial.trial_id: (trial.spec, trial.score, trial.status) for trial in trials}


HYPERBAND = [*TINY, "--max-epochs", "4", "--factor", "2"]


def search_among_kills(folder, moments, latest):
    """Run a search in `folder` to its end, killing it at `moments` up to `latest` s; how often."""
    folder.mkdir()
    kills = 0
    while True:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [*SEARCH, *HYPERBAND], cwd=folder, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            assert process.wait(timeout=moments.uniform(1, latest)) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        for path in folder.rglob("*.json"):
            json.loads(path.read_text())


@pytest.mark.slow
def test_fifty_kills_at_random_moments_change_nothing(tmp_path):
    """kill -9 of the whole search, then the same command: equal to a search nobody killed."""
    (tmp_path / "unbroken").mkdir()
    begun = time.monotonic()
    assert search(*HYPERBAND, cwd=tmp_path / "unbroken", timeout=900).returncode == 0
    # Not all before anything is done: on a machine that is busy a start alone takes that long.
    latest = max(16, (time.monotonic() - begun) / 2)
    unbroken = finished(tmp_path / "unbroken" / "search")
    moments, kills, killed = random.Random(0), 0, []
    while kills < 50:
        folder = tmp_path / f"killed{len(killed)}"
        kills += search_among_kills(folder, moments, latest)
        killed.append(finished(folder / "search"))
    for trials in killed:
        assert {v[2] for v in trials.values()} == {"COMPLETED"}
        # What is drawn follows from the seed; who is promoted, from scores that threads round.
        first = {k: v[0] for k, v in trials.items() if k <= "0003"}
        assert first == {k: v[0] for k, v in unbroken.items() if k <= "0003"}
        assert trials.keys() == unbroken.keys()


@pytest.mark.slow
def test_workers_killed_lose_no_trial_and_count_none_twice(tmp_path):
    process = subprocess.Popen(
        [*SEARCH, *HYPERBAND, "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    folder, killed = tmp_path / "search", 0
    deadline = time.monotonic() + 900
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(4)
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        if children and killed < 4 and (folder / "trial_0002").is_dir():
            with contextlib.suppress(psutil.NoSuchProcess):
                children[killed % len(children)].kill()
                killed += 1
    assert process.wait(timeout=60) == 0
    assert killed >= 3
    assert {trial[2] for trial in finished(folder).values()} == {"COMPLETED"}


@pytest.mark.slow
def test_a_second_search_in_the_same_place_is_refused_and_a_killed_one_leaves_no_process(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*SEARCH, *HYPERBAND, "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("search/trial_0001/run/run.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    second = search(*HYPERBAND, "--overwrite", cwd=tmp_path, timeout=120)
    assert second.returncode == 2
    assert "another search is running in search; wait for it, or stop it" in second.stderr
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert search(*HYPERBAND, "--workers", "2", cwd=tmp_path, timeout=900).returncode == 0
    assert {trial[2] for trial in finished(tmp_path / "search").values()} == {"COMPLETED"}
