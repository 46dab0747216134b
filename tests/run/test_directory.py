"""The directory of a run: made whole, written by one process, and checked when it is read."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run, directory
from kerasresnet.run.states import State, states_of

FACTS = {"name": "tiny", "data": "digits", "seed": 0, "labels": list("0123456789")}


@pytest.fixture
def run(tmp_path, tiny_recipe):
    return Run.create(tmp_path / "run", tiny_recipe, FACTS)


def row(epoch, **metrics):
    return {"epoch": epoch, "loss": 1.0, "accuracy": 0.5, **metrics}


class Bytes:
    """What stands for a Keras model: it writes some bytes."""

    def __init__(self, content):
        self.content = content

    def save_weights(self, file):
        assert str(file).endswith(".weights.h5")
        file.write(self.content)


def test_a_run_is_made_whole_or_not_at_all(tmp_path, tiny_recipe, monkeypatch):
    for killed in ("write_text", "_write_facts", "publish"):

        def stop(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(directory, killed, stop)
            Run.create(tmp_path / "run", tiny_recipe, FACTS)
        assert list(tmp_path.iterdir()) == []
    run = Run.create(tmp_path / "run", tiny_recipe, FACTS)
    assert Run.open(run.path).recipe == tiny_recipe
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_kill_9_while_a_run_is_made_hinders_nothing(tmp_path, tiny_recipe):
    code = (
        "import os, pathlib, sys\nfrom kerasresnet.recipe import Recipe\n"
        "from kerasresnet.run import Run, directory\n"
        "directory.publish = lambda *_: os.kill(os.getpid(), 9)\n"
        "Run.create(pathlib.Path(sys.argv[1]), Recipe.named('digits'), {})\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
        assert not (tmp_path / "run").exists()
        assert len(list(tmp_path.iterdir())) == 1  # what the one before left is gone
    Run.create(tmp_path / "run", tiny_recipe, FACTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_run_without_its_recipe_is_told_by_the_file_that_is_missing(run):
    (run.path / "recipe.toml").unlink()
    told = r"recipe\.toml is missing; put it back as it was, or begin a new run with .* --recipe"
    with pytest.raises(UsageError, match=told):
        Run.open(run.path)


def test_what_another_process_trains_is_not_written_to(run):
    code = (
        "import sys, time\nfrom kerasresnet.run import Run\n"
        "with Run.open(sys.argv[1]).locked():\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    command = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        for write in (
            lambda: run.update(status="failed", error="refused"),
            lambda: run.write_metrics([row(1)]),
            lambda: run.write_state(Bytes(b"1"), 1, [row(1)]),
        ):
            with pytest.raises(UsageError, match="is being trained by another process"):
                write()
        other.kill()
    left = {path.name: path.read_bytes() for path in run.path.iterdir()}
    assert left.pop("run.lock") == b"" and left == before
    run.update(status="failed")


WRONG_FACTS = {
    "name": ["../../escape/model", "/tmp/model", "", "a/b", ".hidden", 3, "a" * 81, "a\n"],
    "seed": [-1, "x", 1.5, 2**31],
    "status": ["done", 1],
    "labels": ["abc", [1], [""]],
    "images": [3, {"train": "x"}],
    "unheard_of": [1],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG_FACTS.items() for value in values]
)
def test_a_run_json_that_no_run_wrote_is_refused_in_one_line(key, value, run):
    facts = run.facts | {key: value}
    (run.path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(KerasResNetError, match=rf"run\.json is damaged: .*{key}") as caught:
        _ = run.facts
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"status": "running", "a b": 1}'])
def test_a_run_json_of_another_shape_is_refused_in_one_line(text, run):
    (run.path / "run.json").write_text(text)
    with pytest.raises(KerasResNetError, match=r"run\.json"):
        _ = run.facts


def test_a_fact_that_is_missing_is_told(run):
    with pytest.raises(KerasResNetError, match=r"run\.json says no source"):
        run.fact("source")


@pytest.mark.parametrize(
    "written", [{}, 3, [3], [[]], [row(2)], [row(1), row(1)], [row(1), row(2, loss="high")], [{}]]
)
def test_metrics_that_no_run_wrote_are_refused_in_one_line(written, run):
    (run.path / "metrics.json").write_text(json.dumps(written))
    with pytest.raises(KerasResNetError, match=r"metrics\.json is damaged: ") as caught:
        _ = run.metrics
    assert "\n" not in str(caught.value)


def test_the_results_of_this_repository_are_what_a_run_writes():
    from pathlib import Path

    from kerasresnet.run.record import RunResults, read_record

    for path in Path(__file__).parents[2].glob("results/*/*.json"):
        assert read_record(RunResults, path).status == "finished"


def test_a_named_recipe_is_the_one_that_its_results_were_trained_by():
    from pathlib import Path

    from kerasresnet.run.record import RunResults, read_record

    paths = [
        path
        for path in Path(__file__).parents[2].glob("results/*/*.json")
        if path.parent.name in Recipe.names()
    ]
    assert paths
    for path in paths:
        # A machine's precision may be said anew; all else must be what the file says.
        trained = Recipe.model_validate(read_record(RunResults, path).recipe)
        named = Recipe.named(path.parent.name).model_copy(update={"precision": trained.precision})
        assert trained == named, path


def test_the_two_newest_states_stay_with_the_metrics_up_to_each(run):
    for epoch in range(1, 5):
        rows = [row(n) for n in range(1, epoch + 1)]
        run.write_state(Bytes(b"w%d" % epoch), epoch, rows, average=Bytes(b"a%d" % epoch))
    assert [state.epoch for state in run.states()] == [4, 3]
    names = {path.name for path in run.path.iterdir()} - {"run.json", "recipe.toml", "run.lock"}
    assert names == {
        f"{kind}-000{n}.{ending}"
        for n in (3, 4)
        for kind, ending in (("state", "json"), ("state", "weights.h5"), ("average", "weights.h5"))
    }
    for state in run.states():
        assert state.check([], averaged=True) == [row(n) for n in range(1, state.epoch + 1)]


def test_a_state_is_on_disk_to_its_last_byte_before_an_older_one_goes(run, monkeypatch):
    for epoch in (1, 2):
        run.write_state(Bytes(b"w"), epoch, [row(n + 1) for n in range(epoch)])
    done, fsync, unlink = [], os.fsync, pathlib.Path.unlink
    monkeypatch.setattr(os, "fsync", lambda opened: (done.append("sync"), fsync(opened)))

    def noted(path, missing_ok=False):
        done.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(pathlib.Path, "unlink", noted)
    run.write_state(Bytes(b"w"), 3, [row(1), row(2), row(3)])
    done = [name for name in done if not name.startswith("aside-")]
    # Each of the two files, and the names in the folder after each rename.
    assert done[:5] == ["sync"] * 4 + ["state-0001.json"] and "sync" not in done[4:]


@pytest.mark.parametrize("name", ["state-0002.weights.h5", "average-0002.weights.h5"])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b"x" + b[1:], None])
def test_a_state_that_was_changed_is_found_out_and_named(name, change, run):
    run.write_state(Bytes(b"weights"), 2, [row(1), row(2)], average=Bytes(b"average"))
    path = run.path / name
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(KerasResNetError, match=rf"{name}"):
        State(run.path, 2).check([row(1), row(2)], averaged=True)


def test_a_state_without_a_record_needs_the_metrics_of_its_epochs(run):
    (run.path / "state-0002.weights.h5").write_bytes(b"weights")
    (state,) = states_of(run.path)
    assert state.check([row(1), row(2), row(3)], averaged=False) == [row(1), row(2)]
    with pytest.raises(KerasResNetError, match=r"of epoch 2, and metrics\.json ends with epoch 1"):
        state.check([row(1)], averaged=False)


def test_a_recipe_name_is_no_path():
    for name in ("../up", "a/b", "", "/a"):
        with pytest.raises(UsageError, match="name"):
            Recipe.named("digits").replace(name=name)
