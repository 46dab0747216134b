"""Jobs run in processes that are replaced when they die, and never left behind."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import engine_jobs
import psutil
import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from tuning.engine import local
from tuning.engine.cluster import Cluster
from tuning.engine.job import Died, Stopped
from tuning.engine.local import CRASHES, Local

ROOT = Path(__file__).resolve().parents[2]
LONG = 60.0  # seconds that are never waited for, unless something is wrong


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")


@pytest.fixture
def make_engine(tmp_path):
    """A function that makes an engine, which is stopped at the end of the test."""
    made = []

    def make(slots=1, **settings):
        made.append(Local(slots, tmp_path / "logs", **settings))
        return made[-1]

    yield make
    for engine in made:
        engine.stop()


def until_written(path):
    end = time.monotonic() + LONG
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    return path.read_text()


def test_jobs_come_back_with_what_they_returned_or_why_not(make_engine, tmp_path):
    engine = make_engine()
    engine.submit("good", engine_jobs.double, 21)
    engine.submit("refused", engine_jobs.refuse, "x")
    engine.submit("wrong", engine_jobs.divide, 1)
    found = engine_jobs.results(engine, 3, LONG)
    assert found["good"].value == 42 and found["good"].error is None
    assert type(found["refused"].error) is UsageError
    assert str(found["refused"].error) == "x is no number"
    assert str(found["wrong"].error) == "ZeroDivisionError: division by zero"
    assert "Traceback" in (tmp_path / "logs" / "worker0.log").read_text()
    # One process did them all, and what is called comes before what waits.
    first = engine.call(engine_jobs.say, "said aloud")
    assert first == engine.call(engine_jobs.say, "again")
    assert "said aloud" in (tmp_path / "logs" / "worker0.log").read_text()
    with pytest.raises(UsageError, match="y is no number"):
        engine.call(engine_jobs.refuse, "y")


def test_jobs_run_side_by_side_and_a_call_loses_none(make_engine, tmp_path):
    engine = make_engine(2)
    marks = [tmp_path / "one", tmp_path / "two"]
    for mark in marks:
        engine.submit(mark.name, engine_jobs.sleep, 0.5, mark)
    engine.submit("three", engine_jobs.double, 1)
    assert list(engine.ended(0.01)) == []  # both are given out now, each to a process
    assert engine.call(engine_jobs.double, 4) == 8
    assert engine_jobs.results(engine, 3, LONG).keys() == {"one", "two", "three"}
    assert until_written(marks[0]) != until_written(marks[1])


def test_a_job_whose_process_dies_is_run_again(make_engine, tmp_path):
    engine = make_engine()
    engine.submit("job", engine_jobs.die, tmp_path / "begun", 2)
    assert engine_jobs.results(engine, 1, LONG)["job"].value == 3


def test_one_that_is_not_to_run_again_has_died(make_engine, tmp_path):
    engine = make_engine()
    engine.submit("killed", engine_jobs.die, tmp_path / "begun", 1, again=False)
    (ended,) = engine_jobs.results(engine, 1, LONG).values()
    assert type(ended.error) is Died
    assert str(ended.error).startswith("its process ended by SIGKILL; see ")
    with pytest.raises(
        Died, match=r"its process ended with exit code 7: out of luck; see .*0\.log"
    ):
        engine.call(engine_jobs.leave, 7)
    assert engine.call(engine_jobs.double, 1) == 2


def test_not_even_a_job_that_always_kills_runs_for_ever(make_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "DEATHS", 1)
    engine = make_engine()
    engine.submit("job", engine_jobs.die, tmp_path / "begun", 100)
    assert type(engine_jobs.results(engine, 1, LONG)["job"].error) is Died
    assert (tmp_path / "begun").read_text() == "2"


def test_processes_that_cannot_even_start_are_given_up_with_their_last_words(
    make_engine, monkeypatch
):
    code = "import sys; sys.exit('no such module')"
    monkeypatch.setattr(local, "COMMAND", [sys.executable, "-c", code])
    engine = make_engine()
    engine.submit("job", engine_jobs.double, 1)
    with pytest.raises(KerasResNetError, match=rf"{CRASHES} processes .* code 1: no such module"):
        engine_jobs.results(engine, 1, LONG)


def test_a_job_that_no_process_can_read_is_given_up_too(make_engine):
    engine = make_engine()
    engine.submit("job", engine_jobs.double, engine_jobs.Unreadable())
    with pytest.raises(KerasResNetError, match=rf"{CRASHES} processes .* ZeroDivisionError: divis"):
        engine_jobs.results(engine, 1, LONG)


def test_fresh_processes_take_one_job_and_name_their_logs_after_it(make_engine, tmp_path):
    engine = make_engine(fresh=True)
    engine.submit("a", engine_jobs.say, "first")
    engine.submit("b", engine_jobs.say, "second")
    found = engine_jobs.results(engine, 2, LONG)
    assert found["a"].value != found["b"].value
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert logs == {"a.log": "first\n", "b.log": "second\n"}


def test_a_process_that_has_grown_is_replaced_and_is_not_measured_by_a_mere_call(make_engine):
    engine = make_engine()
    first = engine.call(engine_jobs.grow)
    assert engine.call(engine_jobs.say, "still here") == first
    engine.submit("job", engine_jobs.say, "large")
    assert engine_jobs.results(engine, 1, LONG)["job"].value == first
    assert engine.call(engine_jobs.say, "small again") != first


def test_stopping_ends_what_runs_and_tells_who_waits(make_engine, tmp_path):
    engine = make_engine()
    engine.submit("job", engine_jobs.sleep, LONG, tmp_path / "mark")
    told = []

    def wait():
        try:
            engine_jobs.results(engine, 1, LONG)
        except Stopped:
            told.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    process = psutil.Process(int(until_written(tmp_path / "mark")))
    engine.stop()
    thread.join(LONG)
    assert told == ["stopped"] and not process.is_running()


def test_a_job_may_be_given_time_to_write_down_what_it_has(make_engine, tmp_path):
    engine = make_engine()
    engine.submit("job", engine_jobs.write_at_ctrl_c, tmp_path / "mark", tmp_path / "written")
    assert list(engine.ended(0.2)) == []
    until_written(tmp_path / "mark")
    engine.stop(grace=LONG)
    assert (tmp_path / "written").read_text() == "written"


def test_without_ray_a_cluster_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'--ray needs Ray: pip install "kerasresnet\[ray\]"'):
        Cluster("auto")


PARENT = """
import sys, time
import engine_jobs
from pathlib import Path
from tuning.engine.local import Local
engine = Local(1, Path(sys.argv[1]) / "logs")
engine.submit("job", engine_jobs.sleep, 600, sys.argv[1] + "/mark")
list(engine.ended(600))
"""


def test_no_process_outlives_its_parent_not_even_a_killed_one(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)]) as parent:
        process = psutil.Process(int(until_written(tmp_path / "mark")))
        parent.kill()
    psutil.wait_procs([process], timeout=LONG)
    assert not process.is_running()
