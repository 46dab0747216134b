"""A folder of pictures goes the whole way: trained, measured, exported, served, searched."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from kerasresnet.recipe import Recipe
from kerasresnet.run import Run

CLASSES = ("$1 [dark] $2", "grün", "明るい")  # sorted as they are
NAME = "small-stem4s4-BB1x4-pictures"
FLAGS = "--force --epochs 2 --batch-size 8 --spec stem4s4-BB1x4 --precision float32 --image-size 24"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes of twenty pictures, of several sizes, told apart by their colour."""
    root = tmp_path_factory.mktemp("own") / "pictures"
    rng = np.random.default_rng(0)
    for name, colour in zip(CLASSES, ((20, 20, 20), (0, 200, 0), (240, 240, 240)), strict=True):
        (root / name).mkdir(parents=True)
        for i in range(20):
            noise = rng.integers(-15, 16, (20 + i, 30, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """What `python -m kerasresnet.fit --data PICTURES` leaves: a run, and an export beside."""
    from kerasresnet.fit.options import parse_fit_options
    from kerasresnet.fit.training import fit_command

    home = tmp_path_factory.mktemp("trained")
    where = ["--run-dir", str(home / "run"), "--export-dir", str(home / "served")]
    fit_command(parse_fit_options(["--data", str(pictures), *where, *FLAGS.split()]))
    return Run.open(home / "run")


def test_a_run_remembers_its_data_its_classes_and_what_it_normalises_by(trained, pictures):
    import keras

    from kerasresnet.data import DataRequest
    from kerasresnet.data.statistics import channel_statistics

    facts = trained.facts
    assert facts["data"] == str(pictures) and facts["data_settings"]["size"] == [24, 24]
    assert facts["name"] == NAME and facts["labels"] == list(CLASSES)
    assert trained.recipe.spec.to_text() == "stem4s4-BB1x4-classes3-in24x24x3"
    assert trained.results["images"] == {"train": 41, "val": 7, "test": 12}
    model = keras.saving.load_model(trained.model_path, compile=False)
    data = DataRequest.from_facts(facts["data"], facts["data_settings"]).load()
    found = np.ravel(model.get_layer("normalisation").mean) / 255
    # Of the images that validation leaves, a little less than all.
    np.testing.assert_allclose(found, channel_statistics(data.x_train).mean, atol=0.05)
    assert abs(found[0] - 0.4914) > 0.1  # CIFAR-10's


def test_pictures_that_stay_on_disk_train_the_same_network(trained, tmp_path, monkeypatch):
    from types import SimpleNamespace

    import psutil

    from kerasresnet.data import load_again
    from kerasresnet.data.stored import StoredImages
    from kerasresnet.fit.training import train_run

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    data = load_again(trained.fact("data"), trained.fact("data_settings"))
    assert isinstance(data.x_train, StoredImages)
    again = Run.create(tmp_path / "run", trained.recipe, trained.facts)
    results = train_run(again, trained.recipe, data)
    timing = {"seconds", "images_per_second"}
    for one, other in zip(results["epochs"], trained.results["epochs"], strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == {
            k: v for k, v in other.items() if k not in timing
        }
    assert results["test"] == trained.results["test"]


def test_it_is_measured_again_from_the_run_and_from_the_export(trained, pictures, capsys):
    from kerasresnet.evaluate.__main__ import EvaluateOptions, evaluate_path, print_metrics

    accuracy = trained.results["test"]["accuracy"]
    export = trained.path.parent / "served" / NAME
    for path in (trained.path, trained.model_path, export):
        metrics = evaluate_path(EvaluateOptions(path))
        assert metrics["accuracy"] == accuracy and list(metrics["per_class"]) == list(CLASSES)
    print_metrics(metrics)
    assert all(name in capsys.readouterr().out for name in CLASSES[:1])
    asked = evaluate_path(EvaluateOptions(export, data=str(pictures)))
    assert asked["accuracy"] == accuracy


def test_the_export_answers_with_the_names_of_the_classes(trained, pictures, monkeypatch, capsys):
    from kerasresnet.predict.__main__ import main

    export = trained.path.parent / "served" / NAME
    card = json.loads((export / "1" / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert card["labels"] == list(CLASSES) and card["data_settings"]["size"] == [24, 24]
    picture = pictures / "明るい" / "3.png"
    monkeypatch.setattr(sys, "argv", ["predict", str(export), str(picture), "--json"])
    main()
    assert any(name in capsys.readouterr().out for name in CLASSES)


def test_int8_is_calibrated_on_them_and_the_whole_test_set_measured(trained, tmp_path):
    pytest.importorskip("ai_edge_quantizer")
    from kerasresnet.export.__main__ import ExportOptions, export

    path = export(ExportOptions(trained.path, tmp_path, format="litert-int8"))
    assert (path.parent / "labels.txt").read_text("utf-8").splitlines() == list(CLASSES)
    path = export(ExportOptions(trained.path, tmp_path, measure=True))
    card = json.loads((path / "assets.extra" / "model_card.json").read_text("utf-8"))
    assert card["test_accuracy_of_this_export"]["images"] == 12


def test_pictures_that_came_later_end_a_resumed_run(trained, pictures):
    from kerasresnet.data import load_again
    from kerasresnet.errors import UsageError

    new = pictures / CLASSES[0] / "new.png"
    Image.new("RGB", (9, 9)).save(new)
    try:
        with pytest.raises(UsageError, match="no longer holds"):
            load_again(trained.fact("data"), trained.fact("data_settings"))
    finally:
        new.unlink()


def test_a_recipe_follows_the_data_in_what_its_spec_does_not_say():
    from kerasresnet.fit.plan import fitted

    recipe = Recipe.named("small")
    assert fitted(recipe, (48, 48, 1), 7).spec.to_text().endswith("-classes7-in48x48x1")
    said = recipe.replace(spec="BB1x8-classes5-in48x48x3")
    assert fitted(said, (48, 48, 1), 7) == said
    assert fitted(recipe, (32, 32, 3), 10) is recipe


@pytest.mark.parametrize("weights", ["equal", "balanced"])
def test_an_image_counts_by_its_class(weights, make_run, tiny_recipe, digits, monkeypatch):
    import keras

    from kerasresnet.fit.epochs import train_epochs

    fits = []
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **settings: fits.append(settings))
    x, y = digits.x_train[:64], np.repeat([0, 1], [48, 16]).astype(np.int32)
    recipe = tiny_recipe.replace(class_weights=weights, batch_size=32, augment=())
    train_epochs(make_run(recipe, weights), recipe, (x, y), (x, y), seed=0)
    wanted = {0: 64 / 96, 1: 2.0} | dict.fromkeys(range(2, 10), 0.0)
    assert fits[0]["class_weight"] == (None if weights == "equal" else wanted)


def test_classes_count_the_same_wherever_images_are_augmented(make_run, tiny_recipe, digits):
    from kerasresnet.fit.epochs import train_epochs

    x, y = digits.x_train[:64], np.repeat([0, 1], [48, 16]).astype(np.int32)
    changes = {"batch_size": 32, "epochs": 2, "precision": "float32", "learning_rate": 0.01}
    recipe = tiny_recipe.replace(augment=("flip(alternating=true)",), **changes)
    losses = {}
    for where, weights in (("pipeline", "balanced"), ("device", "balanced"), ("device", "equal")):
        run = make_run(recipe.replace(augment_on=where, class_weights=weights), where + weights)
        train_epochs(run, run.recipe, (x, y), (x, y), seed=0)
        losses[where, weights] = [row["loss"] for row in run.metrics]
    there = losses["pipeline", "balanced"]
    np.testing.assert_allclose(losses["device", "balanced"], there, rtol=1e-3)
    assert abs(losses["device", "equal"][0] - there[0]) > 0.01


@pytest.mark.slow
def test_rare_classes_may_count_as_much_as_others(make_run, tiny_recipe, digits):
    import dataclasses

    from kerasresnet.fit.training import train_run

    rare = np.flatnonzero((digits.y_train == 3) | (np.arange(len(digits.y_train)) % 8 == 0))
    few = dataclasses.replace(digits, x_train=digits.x_train[rare], y_train=digits.y_train[rare])
    found = {}
    for weights in ("equal", "balanced"):
        recipe = tiny_recipe.replace(class_weights=weights, epochs=6, batch_size=32)
        confusion = train_run(make_run(recipe, weights), recipe, few)["test"]["confusion"]
        found[weights] = np.array(confusion)[:, 3].sum()  # called a 3, rightly or not
    assert found["balanced"] < found["equal"]


BAD = {
    "empty": ("", "holds no class folders"),
    "own": ("--spec BB1x8-classes7", "write BB1x8-classes3"),
    "own --image-size 1": ("", "would pool below 1x1"),
    "own --image-size 9000": ("", "--image-size is 1 to 4096"),
    "own --batch-size 64": ("", "not one batch of 64"),
    "own --split-seed -1": ("", "--split-seed is 0"),
    "tfds:no_such_set": ("", "TFDS has no data set 'no_such_set'"),
    "missing.csv": ("", "does not exist"),
}


@pytest.mark.parametrize("data", BAD)
def test_what_cannot_be_trained_on_is_one_line_and_nothing_is_written(
    data, pictures, tmp_path, monkeypatch, capsys
):
    from kerasresnet.fit import __main__ as command

    (tmp_path / "empty").mkdir()
    (tmp_path / "own").symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    flags, message = BAD[data]
    monkeypatch.setattr(sys, "argv", ["fit", "--data", *data.split(), *flags.split()])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "own"]
