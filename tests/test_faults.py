"""The benchmark of faults: it kills where it says, finds what is lost, and counts what is not."""

import importlib
import json
import os
import random
from pathlib import Path

import pytest

from kerasresnet.command import exit_on_error
from kerasresnet.disk import write_json
from kerasresnet.errors import KerasResNetError
from kerasresnet.report.tables import faults_table

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
STEPS = 4


@pytest.fixture
def plagues(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(importlib.import_module("victims"), "PAUSE", 0.005)
    return importlib.import_module("plagues")


@pytest.fixture
def make_task(plagues, tmp_path):
    """A task that counts to `STEPS`, each step a file that lists those before; by `write`."""
    tasks = importlib.import_module("tasks")

    class Counting(tasks.Task):
        name = "count"

        def __init__(self, write):
            super().__init__(tmp_path)
            self.write = write

        def command(self, folder):
            def main():
                with exit_on_error("count"):
                    for step in range(len(self.done(folder)), STEPS):
                        self.write(folder / "steps.json", list(range(step + 1)))

            return main, ["count"]

        def done(self, folder):
            file = folder / "steps.json"
            if not file.exists():
                return set()
            found = json.loads(file.read_text())
            if found != list(range(len(found))):
                raise KerasResNetError("the steps are others")
            return {f"step {step}" for step in found}

        def compare(self, folder):
            if len(self.done(folder)) != STEPS:
                raise tasks.Wrong("it stopped early")

    return Counting


def remove_and_write(path, value):
    if path.exists():
        os.unlink(path)
    write_json(path, value)


def kill_at_every_call(plagues, task, folder):
    """What becomes of kills half-way, then before each disk call that the task makes."""
    victims = importlib.import_module("victims")
    (whole := folder / "whole").mkdir(parents=True)
    ended = victims.run_victim(*task.command(whole), whole)
    assert ended.code == 0 and ended.calls > 3 * STEPS and not ended.said
    took, outcomes = plagues.Whole(ended.calls, 1.0, 0), []
    for call in range(1, ended.calls + 1):
        (here := folder / str(call)).mkdir()
        faults = [plagues.Killed(task, here, took, random.Random(0)) for _ in range(3)]
        kills = (ended.calls // 2, call, None)  # what is lost is lost of what was there
        for fault, number in zip(faults, kills, strict=True):
            fault.kill = victims.Kill(call=number)
        outcomes += plagues.chain(task, here, faults)
    assert len(outcomes) > ended.calls
    return outcomes


def test_a_careful_task_survives_a_kill_before_every_disk_call(plagues, make_task, tmp_path):
    outcomes = kill_at_every_call(plagues, make_task(write_json), tmp_path / "all")
    assert {outcome.result for outcome in outcomes} == {"survived"}


def test_a_kill_comes_a_moment_after_a_disk_call(plagues, tmp_path):
    def main():
        write_json(tmp_path / "begun.json", [])
        while True:
            pass

    kill = plagues.Kill(call=1, seconds=0.05)
    ended = importlib.import_module("victims").run_victim(main, ["spin"], tmp_path, kill)
    assert ended.code == -9 and ended.seconds >= 0.05 and not ended.said
    assert str(kill) == "0.05 s after disk call 1"


def count_up(path):
    for step in range(STEPS):
        write_json(path, list(range(step + 1)))
    return os.getpid()


def test_what_a_searchs_engine_starts_is_forked_counted_and_dies_with_it(plagues, tmp_path):
    victims, forks = (importlib.import_module(name) for name in ("victims", "forks"))

    def main():
        from tuning.engine.local import Local

        engine = Local(2)
        for name in "ab":
            engine.submit(name, count_up, Path(f"{name}.json"))
        found = [ended for _ in "ab" for ended in engine.ended(60)]
        engine.stop()
        print(len({ended.value for ended in found} - {os.getpid()}))

    before = set(forks.tree(os.getpid()))
    ended = victims.run_victim(main, ["engine"], tmp_path)
    assert ended.code == 0 and ended.said == "2\n" and ended.calls > 6 * STEPS
    killed = victims.run_victim(main, ["engine"], tmp_path, plagues.Kill(call=ended.calls // 2))
    assert killed.code == -9 and not killed.said
    assert set(forks.tree(os.getpid())) == before


def test_what_a_careless_task_loses_is_found(plagues, make_task, tmp_path):
    outcomes = kill_at_every_call(plagues, make_task(remove_and_write), tmp_path / "all")
    lost = [outcome.told for outcome in outcomes if outcome.result == "lost"]
    assert 0 < len(lost) < len(outcomes)
    assert set(lost) == {"step 0, step 1 was finished, and is gone"}


def test_an_error_that_no_fault_explains_and_a_traceback_are_told(plagues, make_task, tmp_path):
    def refuse(path, value):
        raise KerasResNetError("not today")

    def crash(path, value):
        raise RuntimeError("a bug")

    for write, result in ((refuse, "lost"), (crash, "traceback")):
        task = make_task(write)
        fault = plagues.Killed(task, tmp_path, plagues.Whole(1, 1.0, 0), random.Random(0))
        fault.harmless()
        (outcome,) = plagues.chain(task, tmp_path, [fault])
        assert outcome.result == result


def test_a_full_disk_and_one_that_can_only_be_read_are_made(plagues, make_task, small_disk):
    (folder := small_disk / "here").mkdir()
    task, whole = make_task(write_json), plagues.Whole(8, 1.0, 20_000)
    for kind in (plagues.Full, plagues.ReadOnly):
        faults = [kind(task, folder, whole, random.Random(0)) for _ in range(2)]
        faults[0].room = 0
        faults[0].kill = plagues.Kill(call=8)
        faults[1].harmless()
        (outcome,) = plagues.chain(task, folder, faults)
        assert outcome.result == "survived", outcome
        (folder / "steps.json").unlink()


@pytest.mark.parametrize(
    ("way", "result"),
    [("cut", "traceback"), ("emptied", "traceback"), ("removed", "survived")],
)
def test_a_damaged_file_is_gone_round_or_told(way, result, plagues, make_task, tmp_path):
    (tmp_path / "run").mkdir()
    task = make_task(write_json)
    write_json(tmp_path / "run" / "steps.json", [0, 1])
    main, line = task.command(tmp_path / "run")
    task.command = lambda folder: (main, line)
    task.done = lambda folder, done=task.done: done(tmp_path / "run")
    assert plagues.damaged(task, tmp_path, "steps.json", way).result == result


def test_the_table_counts_each_fault_by_what_became_of_it(tmp_path):
    rows = [("kill", "fit", "survived")] * 3 + [
        ("kill", "fit", "lost"),
        ("full", "export", "refused"),
    ]
    outcomes = [dict(zip(("kind", "task", "result"), row, strict=True)) for row in rows]
    facts = {"device": "a machine", "precision": "float32", "versions": {"tensorflow": "2.21"}}
    write_json(tmp_path / "faults.json", {**facts, "outcomes": outcomes})
    lines = faults_table(tmp_path / "faults.json").splitlines()
    assert "| fit | killed at a random moment | 4 | 3 | 0 | 1 | 0 |" in lines
    assert "| export | full disk | 1 | 0 | 1 | 0 | 0 |" in lines
    assert lines[-1] == "a machine; float32, TensorFlow 2.21." and len(lines) == 6
