"""Processes are replaced when they end too early, and none is left behind."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from tuning.search.engine.supervise import (
    CRASHES,
    RECYCLE,
    SUPERVISOR,
    Child,
    Supervisor,
    children_of,
)

ROOT = Path(__file__).resolve().parents[2]


def supervisor(folder, code, names=("solo",)):
    """A supervisor whose children run `code`, with the folder as their argument."""
    found = Supervisor(folder, [Child(name, {"NAME": name}) for name in names])
    found.command = [sys.executable, "-c", "import os, sys, pathlib, time\n" + code, str(folder)]
    return found


def run(supervisor, seconds=30.0):
    end = time.monotonic() + seconds
    try:
        while not supervisor.poll():
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        supervisor.stop()


COUNT = """
path = pathlib.Path(sys.argv[1], "starts")
starts = int(path.read_text()) + 1 if path.exists() else 1
path.write_text(str(starts))
"""


def test_a_process_that_asks_for_it_is_replaced_at_once(tmp_path):
    started = time.monotonic()
    run(supervisor(tmp_path, COUNT + f"sys.exit({RECYCLE} if starts < 10 else 0)"))
    assert (tmp_path / "starts").read_text() == "10"
    assert time.monotonic() - started < 15


def test_a_process_that_was_killed_is_started_again(tmp_path):
    run(supervisor(tmp_path, COUNT + "os.kill(os.getpid(), 9) if starts < 2 else sys.exit(0)"))
    assert (tmp_path / "starts").read_text() == "2"


def test_processes_know_which_supervisor_they_have(tmp_path):
    note = f"pathlib.Path(sys.argv[1], 'names').open('a').write(os.environ[{SUPERVISOR!r}] + ' ')"
    for _ in range(2):
        (tmp_path / "starts").unlink(missing_ok=True)
        run(supervisor(tmp_path, COUNT + note + f"\nsys.exit({RECYCLE} if starts < 2 else 0)"))
    first, again, second, _ = (tmp_path / "names").read_text().split()
    assert first == again != second


def test_a_process_that_dies_and_does_nothing_is_given_up_with_its_last_words(
    tmp_path, monkeypatch
):
    seconds = itertools.count(0, 10)  # pauses are over when they begin
    monkeypatch.setattr("tuning.search.engine.supervise.time.monotonic", lambda: next(seconds))
    with pytest.raises(KerasResNetError, match=f"{CRASHES} times with code 3.*out of luck"):
        run(supervisor(tmp_path, "sys.exit(print('out of luck', flush=True) or 3)"), 10**9)


def test_a_refusal_of_a_process_is_the_refusal_of_the_search(tmp_path):
    said = "print('tuning.search.engine.worker: error: 7 is no data set', file=sys.stderr)"
    code = f"sys.exit({said} or 2)"
    with pytest.raises(UsageError, match=r"^7 is no data set$"):
        run(supervisor(tmp_path, code))


def test_a_refusal_after_a_restart_is_a_crash_as_the_chief_may_just_be_away(tmp_path):
    said = "print('tuning.search.engine.worker: error: no chief answers', file=sys.stderr)"
    code = f"{said}\nsys.exit({{1: {RECYCLE}, 2: 2}}.get(starts, 0))"
    run(supervisor(tmp_path, COUNT + code))
    assert (tmp_path / "starts").read_text() == "3"


def test_writing_the_oracle_again_is_no_progress(tmp_path, monkeypatch):
    seconds = itertools.count(0, 10)
    monkeypatch.setattr("tuning.search.engine.supervise.time.monotonic", lambda: next(seconds))
    code = """
pathlib.Path(sys.argv[1], "oracle.json").write_text('{"end_order": ["0000"]}')
sys.exit(3 if starts < 30 else 0)
"""
    with pytest.raises(KerasResNetError, match=f"ended {CRASHES} times with code 3"):
        run(supervisor(tmp_path, COUNT + code), 10**9)


def test_crashes_among_which_trials_end_are_no_reason_to_give_up(tmp_path, monkeypatch):
    seconds = itertools.count(0, 10)
    monkeypatch.setattr("tuning.search.engine.supervise.time.monotonic", lambda: next(seconds))
    code = f"""
text = '{{"end_order": [' + ", ".join(["0"] * (starts // 3)) + "]}}"
pathlib.Path(sys.argv[1], "oracle.json").write_text(text)
sys.exit(3 if starts < {3 * CRASHES} else 0)
"""
    run(supervisor(tmp_path, COUNT + code), 10**9)


def test_last_words_are_not_those_of_an_earlier_process(tmp_path, monkeypatch):
    seconds = itertools.count(0, 10)
    monkeypatch.setattr("tuning.search.engine.supervise.time.monotonic", lambda: next(seconds))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "solo.log").write_text("tuning.search.engine.worker: error: last week's\n")
    with pytest.raises(KerasResNetError, match="did nothing: it said nothing"):
        run(supervisor(tmp_path, "sys.exit(3)"), 10**9)


def test_a_chief_killed_after_its_last_worker_was_done_does_not_wait_for_ever(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tuning.search.engine.supervise.GOODBYE", 1.0)
    code = "time.sleep(600 if os.environ['NAME'] == 'chief' else 0)"
    found = supervisor(tmp_path, code, names=("chief", "worker0", "worker1"))
    run(found)
    assert all(child.process is None for child in found.children)


def test_workers_that_do_not_hear_the_end_do_not_hold_it_up(tmp_path, monkeypatch):
    monkeypatch.setattr("tuning.search.engine.supervise.GOODBYE", 1.0)
    code = "time.sleep(0 if os.environ['NAME'] == 'chief' else 600)"
    found = supervisor(tmp_path, code, names=("chief", "worker0"))
    run(found)
    assert all(child.process is None for child in found.children)


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tuning.search.engine.supervise import Child, Supervisor
found = Supervisor(Path(sys.argv[2]), [Child("solo", {})])
found.command = [sys.executable, "-c", '''
import sys, time
sys.path.insert(0, sys.argv[1])
from tuning.search.engine.supervise import exit_with_parent
exit_with_parent()
time.sleep(600)
''', sys.argv[1]]
found.poll()
print(found.children[0].process.pid, flush=True)
time.sleep(600)
"""


def test_no_process_outlives_its_parent_not_even_a_killed_one(tmp_path):
    command = [sys.executable, "-c", PARENT, str(ROOT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1.0)
        assert child.is_running()
        parent.kill()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_one_worker_needs_no_chief_and_a_machine_that_is_told_its_part_plays_it():
    assert [child.name for child in children_of(1, {})] == ["solo"]
    told = {"KERASTUNER_ORACLE_IP": "10.0.0.1", "KERASTUNER_TUNER_ID": "worker7"}
    assert [child.name for child in children_of(4, told)] == ["worker7"]
    chief, *workers = children_of(3, {})
    assert chief.environment["KERASTUNER_TUNER_ID"] == "chief"
    assert len({child.environment["KERASTUNER_TUNER_ID"] for child in workers}) == 3
    assert len({child.environment["KERASTUNER_ORACLE_PORT"] for child in (chief, *workers)}) == 1
