"""A run goes on from what is whole, says what is not, and does whatever is missing."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.fit.options import FitOptions
from kerasresnet.fit.restore import restore
from kerasresnet.fit.training import fit_command
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run


class FakeModel:
    """What restoring needs of a Keras model; its weights are some bytes."""

    def __init__(self, weights=b"new"):
        self.weights = weights
        self.trainable_variables = []
        self.optimizer = self

    def build(self, variables):
        assert variables is self.trainable_variables

    def save_weights(self, file):
        file.write(self.weights)

    def load_weights(self, path):
        self.weights = path.read_bytes()
        if not self.weights.startswith(b"weights"):
            raise ValueError("of another network\nand more of it")

    def save(self, file):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("weights", self.weights)

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


def rows_of(scores):
    return [{"epoch": n, "loss": 1.0, "val_accuracy": s} for n, s in enumerate(scores, start=1)]


@pytest.fixture
def half_way(tmp_path, tiny_recipe):
    """A run as it stands after three epochs, of which the first was the best."""
    run = Run.create(tmp_path / "run", tiny_recipe, {"name": "tiny", "seed": 0})
    for epoch in (1, 2, 3):
        rows = rows_of((0.9, 0.7, 0.8)[:epoch])
        run.save_model(FakeModel(b"weights1"))
        run.write_metrics(rows)
        run.write_state(FakeModel(b"weights%d" % epoch), epoch, rows, average=FakeModel(b"weights"))
    return run


def restored(run, keep="last", averaged=False):
    """(epochs behind it, the network's weights) of a run that goes on."""
    network = FakeModel()
    epoch = restore(run, network, network, FakeModel(), keep=keep, averaged=averaged)
    return epoch, network.weights


def cut(name):
    def damage(run):
        path = run.path / name
        path.write_bytes(path.read_bytes()[:-1])

    return damage


def put(name, text):
    return lambda run: (run.path / name).write_text(text)


def lost(*names):
    return lambda run: [(run.path / name).unlink() for name in names]


DAMAGES = [
    (cut("state-0003.weights.h5"), 2, "state-0003.weights.h5 is damaged: its checksum"),
    (lost("state-0003.weights.h5"), 2, "state-0003.weights.h5: No such file"),
    (put("state-0003.json", "[]"), 2, "state-0003.json is damaged: it holds a list"),
    (put("state-0003.json", "{"), 2, "state-0003.json"),
    (put("metrics.json", json.dumps(rows_of((0.9,)))), 3, "metrics.json says otherwise"),
    (put("metrics.json", json.dumps(rows_of((0.1, 0.1, 0.1)))), 3, "metrics.json says otherwise"),
    (put("metrics.json", '{"epoch": 1}'), 3, "metrics.json is damaged"),
    (put("metrics.json", ""), 3, "cannot read"),
    (cut("model.keras"), 3, "model.keras was damaged: written again from epoch 3"),
    (lost("model.keras"), 3, "model.keras was damaged: written again from epoch 3"),
]


@pytest.mark.parametrize(("damage", "epoch", "told"), DAMAGES)
def test_one_damaged_file_costs_an_epoch_at_most_and_is_told(damage, epoch, told, half_way, capsys):
    damage(half_way)
    assert restored(half_way) == (epoch, b"weights%d" % epoch)
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1
    assert half_way.metrics == rows_of((0.9, 0.7, 0.8)[: len(half_way.metrics)])
    assert len(half_way.metrics) >= epoch and half_way.holds_model()


def test_a_damaged_average_costs_its_epoch_where_it_is_needed(half_way):
    cut("average-0003.weights.h5")(half_way)
    assert restored(half_way)[0] == 3
    assert restored(half_way, averaged=True)[0] == 2


@pytest.mark.parametrize("files", [1, 2])
def test_a_kill_inside_the_first_state_of_an_averaged_run_is_no_dead_end(
    files, tmp_path, tiny_recipe, monkeypatch
):
    from kerasresnet.run import states

    run = Run.create(tmp_path / "run", tiny_recipe, {"name": "tiny", "seed": 0})
    run.write_metrics(rows_of((0.9,)))
    written, write = [], states.write_bytes

    def killed(path, content):
        if len(written) == files:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    run.save_model(FakeModel(b"weights1"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(states, "write_bytes", killed)
        patch.setattr(states, "write_json", killed)
        average = FakeModel(b"weights of the average")
        run.write_state(FakeModel(b"weights1"), 1, rows_of((0.9,)), average=average)
    assert restored(run, averaged=True)[0] == files - 1


def test_a_state_of_an_earlier_version_has_no_checksum_and_may_not_load(half_way, capsys):
    lost("state-0003.json", "state-0002.json")(half_way)
    assert restored(half_way)[0] == 3 and capsys.readouterr().err == ""
    put("state-0003.weights.h5", "a network of another spec")(half_way)
    assert restored(half_way)[0] == 2
    assert "state-0003.weights.h5 does not load: of another network: going" in (
        capsys.readouterr().err
    )


def test_a_whole_run_goes_on_without_a_word(half_way, capsys):
    assert restored(half_way) == (3, b"weights3")
    put("metrics.json", json.dumps(rows_of((0.9, 0.7, 0.8, 0.8))))(half_way)  # killed in the fourth
    assert restored(half_way)[0] == 3
    assert capsys.readouterr().err == ""


def test_a_run_without_one_whole_state_does_not_start_over_unasked(half_way):
    cut("state-0003.weights.h5")(half_way)
    cut("state-0002.weights.h5")(half_way)
    with pytest.raises(KerasResNetError, match=r"go on: state-0003.*; state-0002.*begin again"):
        restored(half_way)
    for path in half_way.path.glob("state-*"):
        path.unlink()
    with pytest.raises(KerasResNetError, match="metrics of 3 epochs and no state"):
        restored(half_way)


def test_the_best_epochs_weights_are_not_made_up(half_way):
    assert restored(half_way, keep="best")[0] == 3
    cut("model.keras")(half_way)
    with pytest.raises(KerasResNetError, match=r"model\.keras is damaged, .* epoch 1, the best"):
        restored(half_way, keep="best")


def test_a_state_that_was_cut_is_gone_round_by_a_real_training(
    tiny_recipe, digits, make_run, finished_run
):
    from kerasresnet.data import train_val_split
    from kerasresnet.fit.epochs import train_epochs

    run = make_run(tiny_recipe)
    train, val = train_val_split(digits.x_train, digits.y_train, 144, 0)
    train_epochs(run, tiny_recipe, train, val, seed=0, until=2)
    put("state-0002.weights.h5", (run.path / "metrics.json").read_text())(run)
    lost("metrics.json")(run)
    train_epochs(run, tiny_recipe, train, val, seed=0)
    for ours, theirs in zip(run.metrics, finished_run.metrics, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)


def resume(run, **options):
    fit_command(FitOptions(run.recipe, resume=run.path, **{"export": False} | options))
    return run.results


def without_its_last_line(text):
    return text[: text.rstrip().rfind("\n") + 1]


@pytest.mark.parametrize("change", [without_its_last_line, lambda text: "", lambda text: text[:-9]])
def test_a_run_does_not_go_on_by_another_recipe_than_it_began_with(change, half_way):
    path = half_way.path / "recipe.toml"
    path.write_text(change(path.read_text()))
    before = {file.name: file.read_bytes() for file in half_way.path.iterdir()}
    with pytest.raises(KerasResNetError, match=r"recipe\.toml is damaged or was changed") as caught:
        fit_command(FitOptions(Recipe.named("digits"), resume=half_way.path))
    assert "\n" not in str(caught.value) and "--recipe" in str(caught.value)
    left = {file.name: file.read_bytes() for file in half_way.path.iterdir()}
    assert {name: left[name] for name in before} == before


def test_a_run_of_an_earlier_version_has_no_checksum_of_its_recipe(half_way, tiny_recipe):
    path = half_way.path / "recipe.toml"
    half_way.update(recipe_sha256=None)
    assert half_way.recipe == tiny_recipe
    path.write_text(without_its_last_line(path.read_text()))
    assert half_way.recipe != tiny_recipe  # a recipe all the same: nothing but a checksum tells


def test_what_is_missing_of_a_run_is_done_by_resuming(finished_run, tmp_path, capsys):
    path = shutil.copytree(finished_run.path, tmp_path / "run")
    run = Run.open(path)
    run.update(precision="float32")
    assert [name for name, done in run.stages.items() if not done] == ["exported"]
    with pytest.raises(UsageError, match=r"finished already: see .*kerasresnet\.export .*/run"):
        resume(run)
    for picture in ("curves.png", "confusion.png"):
        (path / picture).unlink()
    resume(run)
    assert run.stages["drawn"]
    # As after a kill between results.json and the rename of the export.
    with pytest.raises(KerasResNetError, match="not exported, for the network learnt nothing"):
        resume(run, export=True, export_dir=tmp_path / "served")
    resume(run, export=True, export_dir=tmp_path / "served", force=True)
    exported = tmp_path / "served" / "tiny" / "1"
    assert (exported / "saved_model.pb").is_file() and run.facts["exported"] == str(exported)
    with pytest.raises(UsageError, match=rf"exported to {exported}"):
        resume(run, export=True, export_dir=tmp_path / "served")
    run.update(exported=None)  # as after a kill between the export's rename and the word of it
    resume(run, export=True, export_dir=tmp_path / "served", force=True)
    assert run.facts["exported"] == str(exported)
    assert [version.name for version in exported.parent.iterdir()] == ["1"]


def test_nobody_resumes_a_run_that_is_being_trained(finished_run, tmp_path):
    run = Run.open(shutil.copytree(finished_run.path, tmp_path / "run"))
    before = (run.path / "run.json").read_bytes()
    code = (
        "import sys\nfrom kerasresnet.fit.options import FitOptions\n"
        "from kerasresnet.errors import UsageError\n"
        "from kerasresnet.fit.training import fit_command\n"
        "from kerasresnet.recipe import Recipe\n"
        "try:\n    fit_command(FitOptions(Recipe.named('digits'), resume=sys.argv[1]))\n"
        "except UsageError as error:\n    print(error)\n"
    )
    with run.locked():
        command = [sys.executable, "-c", code, str(run.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "is being trained by another process" in done.stdout, done.stderr
    assert (run.path / "run.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_damaged_model_is_one_line_in_an_export(content, finished_run, tmp_path):
    from kerasresnet.export import export_saved_model

    run = Run.open(shutil.copytree(finished_run.path, tmp_path / "run"))
    whole = run.model_path.read_bytes()
    run.model_path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(KerasResNetError, match=r"cannot load .*model\.keras: ") as caught:
        export_saved_model(run, tmp_path / "served")
    assert "\n" not in str(caught.value) and not (tmp_path / "served").exists()


@pytest.mark.parametrize("name", ["../../escape", "/tmp/escape", "a/b", "..", ".tmp-1", "a\n"])
def test_an_export_stays_in_its_directory(name, finished_run, tmp_path):
    from kerasresnet.export import export_saved_model

    home = tmp_path / "deep" / "served"
    with pytest.raises(UsageError, match="give another --name"):
        export_saved_model(finished_run, home, name=name)
    run = Run.open(shutil.copytree(finished_run.path, tmp_path / "run"))
    (run.path / "run.json").write_text(json.dumps(run.facts | {"name": name}))
    with pytest.raises(KerasResNetError, match=r"run\.json is damaged: RunFacts name"):
        export_saved_model(run, home)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]
