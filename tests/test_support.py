"""docs/support.md says of versions what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ROW = re.compile(r"^\| (\S+) \| `(\S+)` \| (\S+) \|", re.MULTILINE)
PAGE = (ROOT / "docs" / "support.md").read_text("utf-8")
ROWS = ROW.findall(PAGE)


def asked(name):
    if name == "Python":
        return PROJECT["requires-python"]
    (line,) = (d for d in PROJECT["dependencies"] if re.match(rf"{name}[<>=]", d, re.IGNORECASE))
    return line[len(name) :]


def test_the_page_names_what_matters():
    assert [row[0] for row in ROWS] == ["Python", "TensorFlow", "Keras", "keras-tuner"]


@pytest.mark.parametrize(("name", "bounds", "tried"), ROWS)
def test_what_is_asked_for_is_what_was_tried(name, bounds, tried):
    assert asked(name) == bounds
    assert re.match(r">=([\d.]+)", bounds)[1] == tried


def test_classifiers_name_the_pythons_that_were_tried_in_whole_or_in_part():
    tried = next(tried for name, _, tried in ROWS if name == "Python")
    partly = re.findall(r"^- \*\*Python (3\.\d+)\*\*", PAGE, re.MULTILINE)
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: 3." in c]
    assert versions == [tried, *partly] and len(versions) == 3
