"""The commands of docs/data.md are understood as they stand there."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kerasresnet.command import parse
from kerasresnet.data import cifar10, prepare
from kerasresnet.data.__main__ import PicturesOptions, check_options, write_pictures
from kerasresnet.run import Run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text("utf-8")
LINES = re.findall(r"^python -m (\S+) ([^#\n]+)", PAGE, re.MULTILINE)
PARSERS = {
    "kerasresnet.fit": "kerasresnet.fit.options:parse_fit_options",
    "tuning.search": "tuning.search.options:parse_search_options",
}
OPTIONS = {
    "kerasresnet.evaluate": "kerasresnet.evaluate.__main__:EvaluateOptions",
    "kerasresnet.predict": "kerasresnet.predict.__main__:PredictOptions",
}


def named(text):
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.fixture(scope="module")
def home(tmp_path_factory, digits):
    """A folder where `pictures` holds what the first command would write, of the digits."""
    home = tmp_path_factory.mktemp("docs")
    write_pictures(digits, home / "pictures", 5)
    return home


@pytest.mark.parametrize(("module", "arguments"), LINES)
def test_a_command_of_the_page_is_understood(module, arguments, home, tmp_path, monkeypatch):
    arguments = shlex.split(arguments)
    monkeypatch.chdir(tmp_path if module == "kerasresnet.data" else home)
    if module == "kerasresnet.data":
        check_options(parse(PicturesOptions, arguments, prog=module))
    elif module in PARSERS:
        options = named(PARSERS[module])(arguments)
        if module == "kerasresnet.fit":  # the model that the page goes on to serve
            assert options.training.name == "small-pictures" and "small-pictures" in PAGE
        else:
            _, settings, space = options.resolve()
            assert settings.base == "small" and space.base.spec.classes == 10
    else:
        parse(named(OPTIONS[module]), arguments, prog=module)


def test_the_page_goes_the_whole_way():
    assert {*PARSERS, *OPTIONS, "kerasresnet.data"} == {module for module, _ in LINES}


@pytest.mark.slow
def test_the_way_from_a_folder_to_a_served_model_goes_as_it_is_written(tmp_path):
    """Real pictures of CIFAR-10; all but the container, and the search after it, for hours."""
    folder = cifar10.find_data_dir() / "cifar10" / prepare.VERSION
    if not folder.exists():
        pytest.skip(f"CIFAR-10 is not prepared in {folder}")
    ships, said = tmp_path / "pictures" / "test" / "ship", {}
    for module, arguments in LINES[:4]:
        if module == "kerasresnet.predict":
            with Image.open(min(ships.iterdir())) as picture:
                picture.save(tmp_path / "photo.jpg")
        command = [sys.executable, "-m", module, *shlex.split(arguments)]
        how = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
        assert done.returncode == 0, done.stderr
        said[module] = done.stdout
    assert len(list(ships.iterdir())) == 40 and len(said) == 4
    (run,) = (tmp_path / "runs").iterdir()
    results = Run.open(run).results
    assert results["images"]["train"] + results["images"]["val"] == 2000
    assert results["test"]["accuracy"] > 0.5 and (run / "report.html").is_file()
    assert f"{results['test']['accuracy']:.2%}" in said["kerasresnet.evaluate"]
    assert "photo.jpg" in said["kerasresnet.predict"]
    assert any(label in said["kerasresnet.predict"] for label in results["labels"])
