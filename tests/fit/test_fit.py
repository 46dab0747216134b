"""A run trains, writes everything down, survives interruption, and says what went wrong."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run

FIT = [sys.executable, "-m", "kerasresnet.fit"]


def fit(*arguments, cwd):
    return subprocess.run(
        [*FIT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def weights_of(run):
    import keras

    return keras.saving.load_model(run.model_path, compile=False).get_weights()


def test_a_run_holds_all_that_its_docstring_names(finished_run):
    names = {path.name for path in finished_run.path.iterdir()}
    assert names == {
        "run.json",
        "recipe.toml",
        "metrics.csv",
        "metrics.json",
        "tensorboard",
        "run.lock",
        *(f"state-000{n}.{ending}" for n in (2, 3) for ending in ("json", "weights.h5")),
        "model.keras",
        "architecture.png",
        "block.png",
        "curves.png",
        "confusion.png",
        "predictions.npz",
        "report.html",
        "results.json",
    }
    assert finished_run.facts["status"] == "finished"


def test_results_say_how_the_accuracy_was_measured(finished_run, tiny_recipe, digits):
    results = finished_run.results
    assert results["images"] == {"train": 1293, "val": 144, "test": len(digits.x_test)}
    assert results["test"]["images"] == len(digits.x_test)
    assert [row["epoch"] for row in results["epochs"]] == [1, 2, 3]
    assert Recipe(**results["recipe"]) == tiny_recipe
    assert np.trace(results["test"]["confusion"]) == round(
        results["test"]["accuracy"] * len(digits.x_test)
    )


def test_csv_holds_the_same_epochs_as_json(finished_run):
    header, *lines = (finished_run.path / "metrics.csv").read_text().splitlines()
    rows = [
        dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines
    ]
    assert rows == finished_run.metrics


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9},
        {"lookahead": 5, "spec": "whiten2-BB1x8m-BN1x4m", "resolution": "16:0.3, 24:0.3, 32:0.4"},
    ],
)
def test_interrupted_and_resumed_equals_one_go(changes, tiny_recipe, digits, make_run, monkeypatch):
    from kerasresnet.data import train_val_split
    from kerasresnet.fit import callbacks
    from kerasresnet.fit.epochs import train_epochs

    recipe = tiny_recipe.replace(
        keep="last", optimizer="convmuon", weight_decay=1e-3, norm_momentum=0.7, **changes
    )
    whole, broken = make_run(recipe, "whole"), make_run(recipe, "broken")
    parts = train_val_split(digits.x_train, digits.y_train, 144, 0)
    train_epochs(whole, recipe, *parts, seed=0)

    def interrupt(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks.StopOnNaN, "on_epoch_begin", interrupt)
        train_epochs(broken, recipe, *parts, seed=0)
    assert len(broken.metrics) == 2 and broken.states()[0].epoch == 2
    train_epochs(Run.open(broken.path), recipe, *parts, seed=0)
    for ours, theirs in zip(weights_of(broken), weights_of(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)
    for ours, theirs in zip(broken.metrics, whole.metrics, strict=True):
        assert ours["learning_rate"] == theirs["learning_rate"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)


@pytest.mark.parametrize("keep, kept_value", [("best", 2.0), ("last", 3.0)])
def test_keep_says_which_epochs_weights_stay(keep, kept_value, tiny_recipe, make_run):
    import keras

    from kerasresnet.fit.callbacks import RunWriter

    run = make_run(tiny_recipe)
    network, kept = (keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]) for _ in "ab")
    network.compile("sgd", "mse")
    writer = RunWriter(run, network, kept, keep=keep)
    writer.set_model(network)
    for epoch, val_accuracy in enumerate((0.5, 0.7, 0.6)):
        network.set_weights([np.full((1, 1), epoch + 1.0), np.zeros(1)])
        writer.on_epoch_begin(epoch)
        writer.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": val_accuracy})
    assert weights_of(run)[0].item() == kept_value
    assert run.states()[0].epoch == 3


def test_a_momentum_that_moves_is_recorded(tiny_recipe, make_run):
    import keras

    from kerasresnet.fit.callbacks import RunWriter
    from kerasresnet.fit.compiled import compile_model

    run = make_run(tiny_recipe)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    compile_model(network, tiny_recipe.replace(cycle_momentum=(0.85, 0.95)), images=1000)
    writer = RunWriter(run, network, network, keep="last")
    writer.set_model(network)
    writer.on_epoch_begin(0)
    writer.on_epoch_end(0, {"loss": 1.0})
    assert run.metrics[0]["momentum"] == pytest.approx(0.95)
    assert "momentum" in (run.path / "metrics.csv").read_text()


def test_what_is_kept_loads_with_keras_alone(finished_run):
    code = (
        "import sys, keras\n"
        f"model = keras.saving.load_model({str(finished_run.model_path)!r})\n"
        "assert getattr(model, 'optimizer', None) is None\n"
        "assert model.dtype_policy.name == 'float32'\n"
        "assert 'kerasresnet' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def averaging(**rule):
    """A network with batch norm, its average, and the callback that moves one to the other."""
    import keras

    from kerasresnet.fit.callbacks import WeightAverage

    def build():
        layers = [keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        return keras.Sequential(layers)

    network, average = build(), build()
    network.compile("sgd", "mse")
    callback = WeightAverage(network, average, total_steps=20, **rule)
    callback.set_model(network)
    callback.on_train_begin()
    return network, average, callback


def states_of_training(network, average, callback, steps):
    """(network, average) as flat arrays after each of `steps`, the batch statistics within."""
    draw = np.random.default_rng(0)
    for step in range(steps):
        network.set_weights([w + draw.normal(size=w.shape) for w in network.get_weights()])
        before = [w.ravel() for w in network.get_weights()]
        callback.on_train_batch_end(step)
        after, averages = (
            np.concatenate([w.ravel() for w in model.get_weights()]) for model in (network, average)
        )
        yield np.concatenate(before), after, averages


def test_an_ema_follows_all_weights_and_soon_forgets_the_first_ones():
    expected = None
    for step, (weights, after, average) in enumerate(states_of_training(*averaging(ema=0.7), 20)):
        past = min(0.7, (2 + step) / (11 + step))
        first = expected is None
        expected = weights if first else past * expected + (1 - past) * weights
        if first:
            expected = average  # of the initial weights and the first ones
            assert np.abs(average - weights).max() > 0
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(after, weights)


def test_lookahead_goes_back_to_its_average_every_so_many_steps_and_at_the_end():
    slow = None
    rule = averaging(lookahead=3)
    slow = np.concatenate([w.ravel() for w in rule[1].get_weights()])
    for step, (weights, after, average) in enumerate(states_of_training(*rule, 20), start=1):
        if step % 3 == 0 or step == 20:
            past = 0.95**3 * (step / 20) ** 3
            slow = past * slow + (1 - past) * weights
            np.testing.assert_allclose(after, slow, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(after, weights)
        np.testing.assert_allclose(average, slow, rtol=1e-5, atol=1e-6)


def test_validation_sees_the_average_and_training_goes_on_with_the_weights_to_the_bit():
    network, average, callback = averaging(ema=0.7)
    list(states_of_training(network, average, callback, 5))
    trained, averaged = network.get_weights(), average.get_weights()
    callback.on_test_begin()
    for ours, theirs in zip(network.get_weights(), averaged, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    callback.on_test_end()
    for model, held in ((network, trained), (average, averaged)):
        for ours, theirs in zip(model.get_weights(), held, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_short_run_is_not_made_worse_by_an_average_of_its_weights(digits, make_run):
    from kerasresnet.fit.training import train_run

    recipe = Recipe.named("digits").replace(epochs=5, keep="last")
    plain = train_run(make_run(recipe, "plain"), recipe, digits)
    recipe = recipe.replace(ema=0.999)
    averaged = train_run(make_run(recipe, "averaged"), recipe, digits)
    # Two standard errors of 360 test images at 97 %; the first weights averaged in cost 89 points.
    assert averaged["test"]["accuracy"] > plain["test"]["accuracy"] - 0.018


def test_results_hold_cost_and_test_time_augmentation_beside_the_plain_figures(
    finished_run, tiny_recipe
):
    from kerasresnet.network.budget import count_macs

    results = finished_run.results
    images = 1293 // 64 * 64 * 3
    assert results["pflop"] == round(6 * count_macs(tiny_recipe.spec) * images / 1e15, 5)
    assert 0 < results["test"]["tta"]["flip"]["accuracy"] <= 1
    assert results["test"]["tta"]["flip"]["accuracy"] != results["test"]["accuracy"]


def test_a_run_stopped_after_its_last_epoch_is_finished_by_resuming(
    tiny_recipe, digits, make_run, monkeypatch
):
    from kerasresnet.fit import training

    recipe = tiny_recipe.replace(epochs=1, spec="stem4s4-BB1x4")
    run = make_run(recipe)

    def interrupt(run, data, val):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "measure_kept_model", interrupt)
        training.train_run(run, recipe, digits)
    results = training.train_run(run, recipe, digits)
    assert results["test"]["images"] == 360 and len(results["epochs"]) == 1


def test_runs_started_in_one_second_get_directories_of_their_own(tmp_path, tiny_recipe):
    runs = [Run.create_under(tmp_path / "runs", tiny_recipe, {"seed": i}) for i in range(3)]
    assert len({run.path for run in runs}) == 3
    assert [run.facts["seed"] for run in runs] == [0, 1, 2]


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_quick_takes_an_optimizer_without_nesterov_momentum(optimizer):
    from kerasresnet.fit.compiled import compile_model
    from kerasresnet.network.build import build_model

    recipe = Recipe.named("quick").replace(optimizer=optimizer)
    model = build_model(recipe.spec)
    compile_model(model, recipe, 49_000)
    assert type(model.optimizer).__name__.lower() == f"recipe{optimizer}"


def test_a_changed_recipe_is_not_published_under_its_name():
    from kerasresnet.fit.options import parse_fit_options

    assert parse_fit_options([]).training.name == "quick"
    assert parse_fit_options(["--seed", "3"]).training.name == "quick"
    assert parse_fit_options(["--epochs", "3"]).training.name == "quick-custom"
    assert parse_fit_options(["--epochs", "3", "--name", "mine"]).training.name == "mine"


def test_a_network_that_only_guesses_is_told_once_and_early(capsys):
    from kerasresnet.evaluate.measure import best_guess
    from kerasresnet.fit.callbacks import StillGuessing

    guess = best_guess(0.1, 1_000)
    assert 0.12 < guess < 0.13
    for accuracy, told in ((0.5, 0), (0.11, 1)):
        watch = StillGuessing(guess, epochs=3)
        for epoch in range(6):
            watch.on_epoch_end(epoch, {"accuracy": accuracy})
            assert bool(capsys.readouterr().err) == (told and epoch == 2)


def test_nan_loss_ends_the_run_and_says_what_to_try(tiny_recipe, digits, make_run):
    from kerasresnet.fit.training import train_run

    recipe = tiny_recipe.replace(learning_rate=1e30, optimizer="sgd")
    with pytest.raises(KerasResNetError, match=r"loss became .* epoch 1, step .*--learning-rate"):
        train_run(make_run(recipe), recipe, digits)


def test_budget_callback_counts_what_keras_trains(tiny_recipe):
    from kerasresnet.fit.callbacks import ParameterBudget
    from kerasresnet.network.budget import count_parameters
    from kerasresnet.network.build import build_model

    count = count_parameters(tiny_recipe.spec)
    for limit, fits in ((count, True), (count - 1, False)):
        callback = ParameterBudget(limit)
        callback.set_model(build_model(tiny_recipe.spec))
        if fits:
            callback.on_train_begin()
        else:
            with pytest.raises(UsageError, match=f"{count:,} trainable parameters, 1 over"):
                callback.on_train_begin()


BAD = {
    "--spec XX2x64": "unknown block type 'XX'",
    "--spec BB0x64": "greater than or equal to 1, received 0",
    "--spec BB2x-64": "cannot read 'BB2x'",
    "--spec BB2x64k4": "a kernel must be odd",
    "--spec BB1x4-BB1x4-BB1x4-BB1x4-BB1x4-BB1x4-BB1x4": "would pool below 1x1",
    "--spec BB2x512-BB2x512": "over the limit of 5,000,000",
    "--spec BB2x64 --max-params 1000": "over the limit of 1,000",
    "--recipe quack": "unknown recipe 'quack': did you mean 'quick'",
    "--recipe broken.toml": "broken.toml is not valid TOML",
    "--recipe missing.toml": "cannot read recipe missing.toml",
    "--optimizer sdg": "did you mean 'sgd'",
    "--data mnits": "unknown data set 'mnits': did you mean 'mnist'",
    "--data ./no-such-folder": "does not exist",
    "--data tfds:": "tfds:NAME",
    "--data digits --image-size 0": "received 0",
    "--no-such-flag": "--no-such-flag",
    "--epochs 0": "received 0",
    "--epochs many": "many",
    "--resume .": "is no run directory",
    "--resume nowhere": "does not exist",
    "--augment flop": "'flop'",
    "--learning-rate nan": "nan",
    "--data digits --spec BB1x8-in28x28x1": "write BB1x8",
    "--data digits --spec BB1x8-classes7": "digits has images of 32x32x3 in 10 classes",
    "--data digits --val-fraction 0.001": "fewer than its 10 classes",
    "--data digits --seed -1": "received -1",
    "--data digits --cycle-momentum 0.9 1.0": "less than 1",
    "--resume . --epochs 12": "leave out --epochs",
    "--data digits --batch-size 5000": "not one batch of 5,000",
    "--data digits --export-dir broken.toml": "broken.toml is no directory",
}


@pytest.mark.parametrize("flags", BAD)
def test_bad_input_is_one_line_and_exit_code_2(flags, tmp_path, monkeypatch, capsys):
    from kerasresnet.fit import __main__ as fit_command

    (tmp_path / "broken.toml").write_text("epochs = = 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fit", *flags.split()])
    with pytest.raises(SystemExit) as stop:
        fit_command.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("kerasresnet.fit: error: ")
    assert BAD[flags] in line
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_ctrl_c_says_how_to_go_on_and_resume_finishes(tmp_path):
    flags = ["--data", "digits", "--run-dir", "run", "--epochs", "200", "--no-export"]
    flags += ["--spec", "stem4s4-BB1x4"]
    process = subprocess.Popen([*FIT, *flags], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "run"
    deadline = time.monotonic() + 120
    while not list(run.glob("state-*.weights.h5")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "--resume run" in errors and "Traceback" not in errors
    assert read_json(run / "run.json")["status"] == "interrupted"
    recipe = Recipe.from_toml(run / "recipe.toml")
    done = len(Run.open(run).metrics)
    # What is left of 200 epochs would test nothing more: end the recipe two epochs on, in a run of
    # an earlier version, which does not know its recipe's checksum.
    (run / "recipe.toml").write_text(recipe.replace(epochs=done + 2).to_toml())
    Run.open(run).update(recipe_sha256=None)
    result = fit("--resume", "run", "--no-export", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [row["epoch"] for row in Run.open(run).metrics] == list(range(1, done + 3))
    again = fit("--resume", "run", "--no-export", cwd=tmp_path)
    assert again.returncode == 2 and "finished already" in again.stderr


def test_a_dry_run_says_all_and_makes_nothing(tmp_path, monkeypatch, capsys):
    from kerasresnet.fit.options import parse_fit_options
    from kerasresnet.fit.training import fit_command

    monkeypatch.chdir(tmp_path)
    fit_command(parse_fit_options(["--data", "digits", "--dry-run"]))
    printed = capsys.readouterr().out
    assert "BB1x16-BB1x32-BB1x64" in printed
    assert "PFLOP of training" in printed
    assert "runs/<time>-digits (a dry run makes nothing)" in printed
    with pytest.raises(UsageError, match=r"not one batch of 2,000"):
        fit_command(parse_fit_options(["--data", "digits", "--dry-run", "--batch-size", "2k"]))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_directory_is_never_touched(tmp_path):
    (tmp_path / "run").mkdir()
    result = fit("--data", "digits", "--run-dir", "run", cwd=tmp_path)
    assert result.returncode == 2 and "run exists already" in result.stderr
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("augment_on", ["pipeline", "device"])
def test_augmentation_runs_in_either_place_and_is_never_exported(
    augment_on, tiny_recipe, digits, make_run
):
    import keras

    from kerasresnet.fit.training import train_run

    augment = ("crop(pad=2)", "flip(alternating=true)", "cutout(size=4)")
    recipe = tiny_recipe.replace(augment=augment, augment_on=augment_on)
    run = make_run(recipe)
    results = train_run(run, recipe, digits)
    assert results["epochs"][-1]["loss"] < results["epochs"][0]["loss"]
    kept = keras.saving.load_model(run.model_path, compile=False)
    assert {type(layer).__module__.split(".")[0] for layer in kept.layers} == {"keras"}
    assert kept.layers[1].name == "normalisation"
