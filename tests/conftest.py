"""Shared by all tests: a quiet TensorFlow, and one small finished run."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import settings

from kerasresnet.recipe import Recipe

# A shell starts its background jobs with Ctrl-C ignored, and the commands under test inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Properties hold or they do not; how long a loaded machine takes says nothing.
settings.register_profile("kerasresnet", deadline=None)
settings.load_profile("kerasresnet")

TINY = {
    "name": "tiny",
    "spec": "stem8s2-BB1x8-BN1x4",
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.05,
    "nesterov": True,
    "schedule": "one_cycle",
    "precision": "float32",
}


@pytest.fixture(autouse=True)
def environment():
    """The process's environment, given back after each test: a command sets TensorFlow's threads,
    and how a later test trains would depend on that."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def digits():
    from kerasresnet.data import load_data

    return load_data("digits")


@pytest.fixture(scope="session")
def tiny_recipe():
    return Recipe(**TINY)


@pytest.fixture
def make_run(tmp_path, digits):
    """A function that starts an empty run directory for a recipe on the digits."""
    from kerasresnet.run import Run

    def make(recipe, name="run"):
        facts = {
            "name": recipe.name,
            "data": "digits",
            "seed": 0,
            "labels": list(digits.class_names),
        }
        return Run.create(tmp_path / name, recipe, facts)

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, tiny_recipe, digits):
    """A run of the tiny recipe on the digits, trained to its end."""
    from kerasresnet.fit.training import train_run
    from kerasresnet.run import Run

    facts = {"name": "tiny", "data": "digits", "seed": 0, "labels": list(digits.class_names)}
    run = Run.create(tmp_path_factory.mktemp("runs") / "tiny", tiny_recipe, facts)
    train_run(run, tiny_recipe, digits, seed=0)
    return run


@pytest.fixture(scope="session")
def model_directory(finished_run, tmp_path_factory):
    """An export: the directory of its versions, one of which is still being written."""
    from kerasresnet.export import export_saved_model

    home = export_saved_model(finished_run, tmp_path_factory.mktemp("served")).parent
    (home / ".tmp-x").mkdir()
    (home / ".tmp-x" / "saved_model.pb").touch()
    return home


@pytest.fixture(scope="session")
def engine(model_directory):
    """What the servers of `model_servers` run."""
    from model_servers import Engine

    return Engine(model_directory / "1")


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of 16 megabytes: a run with its page fits. Fill it by `leave`."""
    from small_disks import mounted

    with mounted(tmp_path / "disk", megabytes=16) as folder:
        yield folder


@pytest.fixture
def photos(tmp_path, digits):
    """Six test images as PNG files of the model's size."""
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(digits.x_test[:6]):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder
