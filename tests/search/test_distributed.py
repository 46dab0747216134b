"""Chief and workers over real gRPC: none waits for ever, nothing is lost or counted twice."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.engine.oracle import LOCKS
from search.test_oracle import FULL, make_oracle, rungs, score_of

from kerasresnet.errors import KerasResNetError, UsageError
from tuning.search.engine import distributed
from tuning.search.engine.distributed import ChiefError, PatientClient, serve
from tuning.search.engine.supervise import Supervisor, children_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def port(monkeypatch):
    """A free port, told to clients as keras-tuner tells it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(number))
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    monkeypatch.setattr(distributed, "GOODBYE", 3.0)
    return number


class Chief(threading.Thread):
    """`serve` in a thread; `error` is what it raised."""

    error = None

    def __init__(self, oracle, port):
        super().__init__(daemon=True)
        self.oracle, self.port = oracle, port
        self.start()

    def run(self):
        try:
            serve(self.oracle, "127.0.0.1", self.port)
        except BaseException as error:
            self.error = error


def client_of(oracle):
    client = PatientClient(oracle)
    client.connect(10)
    return client


def end(client, trial, status=TrialStatus.COMPLETED):
    if status == TrialStatus.COMPLETED:
        client.update_trial(trial.trial_id, {"val_accuracy": score_of(trial)})
    trial.status = status
    client.end_trial(trial)


def work(client, tuner_id):
    """A worker's loop with made-up scores."""
    while (trial := client.create_trial(tuner_id)).status != TrialStatus.STOPPED:
        if trial.status == TrialStatus.RUNNING:
            end(client, trial)
        else:
            time.sleep(0.05)


def test_workers_fill_every_bracket_and_the_chief_goes_when_they_have(tmp_path, port):
    oracle = make_oracle(tmp_path)
    chief = Chief(oracle, port)
    workers = [
        threading.Thread(target=work, args=(client_of(oracle), f"worker{i}")) for i in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    chief.join(10)
    assert not chief.is_alive() and chief.error is None
    assert rungs(oracle) == FULL
    assert sorted(oracle.end_order) == sorted(oracle.trials)


def test_a_silent_workers_trial_goes_to_another_and_its_late_report_is_ignored(tmp_path, port):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=2)
    oracle.lease = 1.0
    chief = Chief(oracle, port)
    client = client_of(oracle)
    lost = client.create_trial("dead")
    work(client, "worker0")
    assert sorted(oracle.end_order) == sorted(oracle.trials) == ["0", "1"]
    score = oracle.trials[lost.trial_id].score
    client.update_trial(lost.trial_id, {"val_accuracy": 0.0})
    lost.status = TrialStatus.FAILED
    client.end_trial(lost)
    assert oracle.trials[lost.trial_id].status == TrialStatus.COMPLETED
    assert oracle.trials[lost.trial_id].score == score
    chief.join(10)
    assert not chief.is_alive() and len(oracle.end_order) == 2


def test_a_heartbeat_keeps_a_trial(tmp_path, port, monkeypatch):
    monkeypatch.setattr(distributed, "HEARTBEAT", 0.2)
    oracle = make_oracle(tmp_path, tuner="random", max_trials=1)
    oracle.lease = 1.0
    Chief(oracle, port)
    client = client_of(oracle)
    trial = client.create_trial("slow")
    with client.heartbeat(trial.trial_id):
        time.sleep(2.5)
        assert list(oracle.ongoing_trials) == ["slow"]
    time.sleep(2.5)
    assert oracle.ongoing_trials == {} and oracle._retry_queue == [trial.trial_id]
    end(client, trial)  # it was slow, not dead: its result counts, and nobody repeats it
    assert oracle._retry_queue == [] and oracle.end_order == [trial.trial_id]


def test_a_restarted_chief_leaves_trials_to_their_workers(tmp_path):
    before = make_oracle(tmp_path)
    mine, other = before.create_trial("worker0"), before.create_trial("worker1")
    after = make_oracle(tmp_path, reload=False)
    after.keep_ongoing = True
    after.reload()
    assert {k: t.trial_id for k, t in after.ongoing_trials.items()} == {
        "worker0": mine.trial_id,
        "worker1": other.trial_id,
    }
    assert after._retry_queue == []
    assert after.tuner_ids == {"worker0", "worker1"}  # it will stay until both heard the end
    assert after.create_trial("worker1").trial_id == other.trial_id
    assert after.create_trial("worker2").trial_id not in (mine.trial_id, other.trial_id)


def test_a_restarted_search_in_one_process_takes_its_trial_up_again(tmp_path):
    mine = make_oracle(tmp_path).create_trial("tuner0")
    assert make_oracle(tmp_path).create_trial("tuner1").trial_id == mine.trial_id


def test_an_error_of_the_oracle_reaches_worker_and_chief(tmp_path, port, monkeypatch):
    oracle = make_oracle(tmp_path)
    chief = Chief(oracle, port)
    client = client_of(oracle)

    def broken(trial_id):
        raise ValueError("the disk is full")

    monkeypatch.setattr(oracle, "populate_space", broken)
    with pytest.raises(KerasResNetError, match="the chief says: ValueError: the disk is full"):
        client.create_trial("worker0")
    chief.join(10)
    assert not chief.is_alive() and str(chief.error) == "the disk is full"


def test_a_worker_waits_for_a_chief_that_is_away(tmp_path, port, monkeypatch):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=1)
    client = PatientClient(oracle)
    threading.Timer(1.0, Chief, (oracle, port)).start()
    assert client.create_trial("worker0").status == TrialStatus.RUNNING
    monkeypatch.setattr(distributed, "PATIENCE", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free.getsockname()[1]))
    with pytest.raises(KerasResNetError, match="has been away for 0 s; start it again"):
        PatientClient(oracle).create_trial("worker0")


def test_a_worker_of_another_search_ends_no_chief(tmp_path, port):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=1)
    chief = Chief(oracle, port)
    client = client_of(oracle)
    with pytest.raises(ChiefError, match="no trial '4711' in this search"):
        client.get_trial("4711")
    stray = Trial(client.get_space(), "4711", TrialStatus.FAILED)
    client.end_trial(stray)
    work(client, "worker0")
    chief.join(10)
    assert not chief.is_alive() and chief.error is None
    assert list(oracle.trials) == oracle.end_order == ["0"]
    assert not (tmp_path / "search" / "trial_4711").exists()


def test_a_chief_that_fails_costs_no_trained_trial(tmp_path, port, monkeypatch):
    class Trained(BaseTuner):
        def run_trial(self, trial):
            monkeypatch.setattr(oracle, "update_trial", broken)
            return {"val_accuracy": 0.5}

    def broken(*_, **__):
        raise OSError("the disk is full")

    oracle = make_oracle(tmp_path, tuner="random", max_trials=1)
    tuner = Trained(oracle, directory=tmp_path, project_name="search")
    Chief(oracle, port)
    tuner.oracle = client_of(oracle)
    trial = tuner.oracle.create_trial("worker0")
    with pytest.raises(KerasResNetError, match="the disk is full"):
        tuner._try_run_and_update_trial(trial)
    assert trial.status == TrialStatus.RUNNING and oracle.end_order == []


def test_a_full_disk_ends_the_chief_and_holds_nobody_up(tmp_path, port, monkeypatch):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=2)
    oracle.lease = 0.5
    chief = Chief(oracle, port)
    client_of(oracle).create_trial("dead")

    def full():
        raise OSError("the disk is full")

    monkeypatch.setattr(oracle, "save", full)
    chief.join(60)
    assert not chief.is_alive() and str(chief.error) == "the disk is full"
    assert LOCKS[oracle].acquire(timeout=1)


def test_a_chief_that_was_stopped_takes_no_trial_of_the_living(tmp_path):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=2)
    oracle.lease = 3.0
    trial = oracle.create_trial("alive")
    oracle._looked -= 1000.0  # as after SIGSTOP, a frozen machine, a long call with the lock held
    assert oracle.take_back() == []
    oracle._looked -= 1000.0  # still nothing heard, in twice the longest stride
    assert oracle.take_back() == [trial.trial_id]


def test_a_trial_taken_back_while_another_asks_is_not_forgotten(tmp_path, monkeypatch):
    oracle = make_oracle(tmp_path, tuner="random", max_trials=1)
    oracle.lease = 0.2
    lost = oracle.create_trial("dead")
    time.sleep(0.4)
    hear, takers = oracle._hear, []

    def at_that_moment(trial_id):  # after keras-tuner said STOPPED, before that is checked
        takers.append(threading.Thread(target=oracle.take_back))
        takers[-1].start()
        takers[-1].join(0.5)
        hear(trial_id)

    monkeypatch.setattr(oracle, "_hear", at_that_moment)
    assert oracle.create_trial("worker0").status == TrialStatus.IDLE
    monkeypatch.setattr(oracle, "_hear", hear)
    takers[0].join(5)
    assert oracle.create_trial("worker0").trial_id == lost.trial_id


# One part of a search with keras-tuner's own tuner and trials of a moment.
PART = """
import os, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from tuning.search.engine.supervise import exit_with_parent
exit_with_parent()
from keras_tuner.engine.base_tuner import BaseTuner
from search.test_oracle import make_oracle, score_of
from tuning.search.engine.distributed import PatientClient, serve
folder, me = Path(sys.argv[1]), os.environ["KERASTUNER_TUNER_ID"]
oracle = make_oracle(folder.parent, reload=False)

class Momentary(BaseTuner):
    def pre_create_trial(self):
        time.sleep(0.1)

    def run_trial(self, trial):
        with open(folder / f"{me}.txt", "a") as lines:
            print(trial.trial_id, file=lines, flush=True)
            time.sleep(0.4)
            print("done", file=lines)
        return {"val_accuracy": score_of(trial)}

if me == "chief":
    oracle.keep_ongoing = True
    if (folder / "oracle.json").is_file():
        oracle.reload()
    oracle.save()
    serve(oracle, "127.0.0.1", int(os.environ["KERASTUNER_ORACLE_PORT"]))
else:
    tuner = Momentary(oracle, directory=folder.parent, project_name=folder.name)
    tuner.oracle = PatientClient(oracle)
    tuner.oracle.connect()
    tuner.search()
"""


def _said(folder, worker):
    """What a worker wrote: the trials it began, and a word after each that it finished."""
    path = folder / f"worker{worker}.txt"
    return path.read_text().split() if path.is_file() else []


@pytest.mark.slow
def test_processes_killed_in_the_middle_lose_no_trial_and_count_none_twice(tmp_path):
    folder = tmp_path / "search"
    folder.mkdir()
    supervisor = Supervisor(folder, children_of(2, {}))
    supervisor.command = [sys.executable, "-c", PART, str(folder), str(ROOT), str(ROOT / "tests")]
    chief, worker, _ = supervisor.children
    victims, end = [chief, worker], time.monotonic() + 120
    in_the_middle = None
    try:
        while not supervisor.poll():
            assert time.monotonic() < end
            said = _said(folder, 0)
            if len(said) > 4 and said[-1] != "done" and victims:
                in_the_middle = said[-1]
                for victim in victims:  # both at once: the worker comes back to no chief
                    os.kill(victim.process.pid, signal.SIGKILL)
                victims = []
            time.sleep(0.05)
    finally:
        supervisor.stop()
    assert not victims and chief.starts == 2 and worker.starts == 2
    oracle = make_oracle(tmp_path)
    begun = {i: [line for line in _said(folder, i) if line != "done"] for i in (0, 1)}
    assert begun[0].count(in_the_middle) == 2  # begun again, by the same worker
    assert sorted(begun[0] + begun[1]) == sorted([*oracle.trials, in_the_middle])
    assert rungs(oracle) == FULL
    assert sorted(oracle.end_order) == sorted(oracle.trials)
    assert oracle.ongoing_trials == {} and oracle._retry_queue == []


def test_a_worker_without_a_chief_is_told_what_to_check(tmp_path, port):
    with pytest.raises(UsageError, match=f"no chief answers at 127.0.0.1:{port}.*ORACLE_PORT"):
        PatientClient(make_oracle(tmp_path)).connect(0.5)


def test_a_taken_port_is_refused(tmp_path, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1:{port}"):
            serve(make_oracle(tmp_path), "127.0.0.1", port)


def test_the_error_of_a_workers_trial_is_read_from_its_run(tmp_path):
    oracle = make_oracle(tmp_path)
    trial = oracle.create_trial("worker0")
    run = tmp_path / "search" / f"trial_{trial.trial_id}" / "run"
    run.mkdir()
    (run / "run.json").write_text('{"error": "the training loss became nan"}')
    travelled = Trial.from_proto(trial.to_proto())  # as it comes over the wire: no message
    travelled.status = TrialStatus.FAILED
    oracle.end_trial(travelled)
    assert oracle.trials[trial.trial_id].message == "the training loss became nan"
