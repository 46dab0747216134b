"""The commands of docs/data.md are understood as they stand there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from kerasresnet.command import parse
from kerasresnet.data.__main__ import PicturesOptions, check_options, write_pictures

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
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
