"""Jobs on a real Ray cluster of three nodes on loopback: what dies is run again, nothing twice."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import engine_jobs
import psutil
import pytest

from kerasresnet.errors import UsageError
from tuning.engine.cluster import Cluster
from tuning.search.view.trials import read_trials

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not here: pip install -e '.[ray]'"
)

ROOT = Path(__file__).resolve().parents[2]
LONG = 900.0  # seconds that are never waited for, unless something is wrong
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback is an address too


@pytest.fixture
def nodes(importable):
    """A cluster of three nodes, a slot each; the first is its head."""
    import ray
    from ray.cluster_utils import Cluster as Nodes

    found = Nodes(initialize_head=True, head_node_args=NODE)
    for _ in range(2):
        found.add_node(**NODE)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()


def until(condition, process=None):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.1)


# In a process of its own: what Ray listens to is settled when it is first imported.
ALONE = """
import json, sys
import engine_jobs, psutil
from pathlib import Path
from kerasresnet.errors import UsageError
from tuning.engine.cluster import Cluster
from tuning.engine.job import Died
folder = Path(sys.argv[1])
engine = Cluster("auto")
processes = psutil.Process().children(recursive=True)
sockets = [s for p in processes for s in p.net_connections(kind="tcp")]
told = {"listening": sorted({s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN})}
told["slots"] = engine.slots
told["names"] = sorted({p.name() for p in processes})
engine.check_folder(folder)
told["left"] = sorted(path.name for path in folder.iterdir())
engine.submit("good", engine_jobs.double, 21)
engine.submit("refused", engine_jobs.refuse, "x")
engine.submit("killed twice", engine_jobs.die, folder / "begun", 2)
ends = {}
while len(ends) < 3:
    ends |= {e.name: [e.value, type(e.error).__name__, str(e.error)] for e in engine.ended(1.0)}
told |= ends
told["called"] = engine.call(engine_jobs.double, 4)
try:
    engine.call(engine_jobs.die, folder / "other", 1)
except Died:
    told["died"] = (folder / "other").read_text()
engine.stop()
try:
    Cluster("auto", cpus=4096)
except UsageError as error:
    told["too much"] = str(error)
print(json.dumps(told))
"""


def test_jobs_on_this_machine_alone_come_back_with_a_value_or_an_error(importable, tmp_path):
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])  # Ray tells of deaths before
    assert set() < set(told["listening"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert told["slots"] >= 1 and told["left"] == []
    assert told["good"] == [42, "NoneType", "None"]
    assert told["refused"] == [None, "UsageError", "x is no number"]
    assert told["killed twice"][0] == 3
    assert told["called"] == 8 and told["died"] == "1"
    assert "has 4096 CPUs and 0 GPUs for a trial; ask for less" in told["too much"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://nowhere.invalid:10001"])
def test_a_cluster_that_does_not_answer_is_one_line_at_once(address):
    with pytest.raises(UsageError, match=f"^no Ray cluster answers at {address}; start one with"):
        Cluster(address)


@pytest.mark.slow
def test_a_folder_that_a_node_does_not_see_is_refused_by_name(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr("tuning.engine.cluster.sees", engine_jobs.sees_on_the_head_alone)
    engine = Cluster(nodes.address)
    (tmp_path / "head").write_text(nodes.head_node.node_id)
    with pytest.raises(
        UsageError, match=r"node 127\.0\.0\.1 .* does not see .*; give --search-dir"
    ):
        engine.check_folder(tmp_path)


@pytest.mark.slow
def test_the_jobs_of_a_node_that_dies_run_on_the_others(nodes, tmp_path):
    engine = Cluster(nodes.address)
    assert engine.slots == 3
    for number in range(3):
        engine.submit(str(number), engine_jobs.sleep, 8, tmp_path / str(number))
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    found = engine_jobs.results(engine, 3, LONG)
    assert {ended.value for ended in found.values()} == {8}
    moved = [path for path in tmp_path.iterdir() if before[path.name] != path.read_text()]
    assert len(moved) == 1
    time.sleep(2.5)
    assert engine.slots == 2


TINY = """
--data digits --search-dir search --max-params 6000 --train-images 256 --val-images 144 --plain
--set stacks=2 --set block=BB --set blocks=1 --set first_stride=2 --set conv_kernel=3
--set randaugment=0 --max-epochs 4 --factor 2
"""


def start(nodes, folder):
    command = [sys.executable, "-m", "tuning.search", *TINY.split(), "--ray", nodes.address]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)


def trainings(folder):
    """Processes that train a trial now."""
    held = {path.resolve() for path in (folder / "search").glob("trial_*/trial.lock")}
    found = []
    for process in psutil.process_iter():
        try:
            if any(Path(file.path) in held for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_a_search_outlives_its_workers_a_node_and_its_driver(nodes, tmp_path):
    """One of each is killed; every trial is done once, no epoch was trained twice, none is lost."""
    process = start(nodes, tmp_path)
    until(lambda: (tmp_path / "search" / "trial_0002").is_dir() and trainings(tmp_path), process)
    trainings(tmp_path)[0].kill()
    until(lambda: (tmp_path / "search" / "trial_0006").is_dir(), process)
    nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
    until(lambda: (tmp_path / "search" / "trial_0009").is_dir(), process)
    process.kill()
    process.wait()
    process = start(nodes, tmp_path)
    assert process.wait(timeout=3600) == 0
    trials = read_trials(tmp_path / "search")
    oracle = json.loads((tmp_path / "search" / "oracle.json").read_text())
    assert oracle["ongoing_trials"] == {} and oracle["trials"] == len(trials)
    assert {trial.status for trial in trials} == {"COMPLETED"}
    for trial in trials:
        assert [row["epoch"] for row in trial.rows] == list(range(1, trial.epochs_done + 1))
        assert trial.epochs_done == trial.epochs
