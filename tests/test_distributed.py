"""Chief and workers over real gRPC: none waits for ever, nothing is lost or counted twice."""

import socket
import threading
import time

import pytest
from keras_tuner.engine.trial import Trial, TrialStatus
from test_oracle import FULL, make_oracle, rungs, score_of

from kerasresnet.errors import KerasResNetError, UsageError
from tuning import distributed
from tuning.distributed import PatientClient, serve


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
