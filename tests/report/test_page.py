"""A run on one page: whole, harmless, and only as far as the run is."""

import dataclasses
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kerasresnet.errors import KerasResNetError
from kerasresnet.evaluate.calibration import reliability
from kerasresnet.report import charts
from kerasresnet.report.page import page_of, write_page
from kerasresnet.report.predictions import (
    HITS,
    MISTAKES,
    Predictions,
    confident_mistakes,
    kept_or_computed,
    predictions_of,
    uncertain_hits,
)
from kerasresnet.run import Run

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = [
    *("<script>alert(1)</script>", "</script><script>alert(1)</script>", "a & \"b\" 'c'"),
    *("<img src=x onerror=alert(1)>", "<b>bold</b>", '<a href="javascript:alert(1)">x</a>'),
    *("x" * 60, "日本", "{0}", "%{y}"),
]


class Seen(HTMLParser):
    """Tags with their attributes, the text of the scripts, and all other text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.text, self.within = [], [], "", None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.within = tag

    def handle_endtag(self, tag):
        self.within = None

    def handle_data(self, data):
        if self.within == "script":
            self.scripts.append(data)
        elif self.within != "style":
            self.text += data + " "

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def predictions(finished_run):
    return Predictions.read(finished_run.predictions_path)


@pytest.fixture
def copied(finished_run, tmp_path):
    return Run.open(shutil.copytree(finished_run.path, tmp_path / "run"))


def test_a_finished_run_has_its_page_with_every_part(finished_run, predictions):
    seen = Seen(finished_run.page_path.read_text("utf-8"))
    test = finished_run.results["test"]
    for words in (
        *("The network", "Curves", "What is taken for what", "Class by class", "Calibration"),
        *("most confident mistakes", "least certain", "The recipe", "What it cost, and where"),
        f"{100 * test['accuracy']:.2f}\N{NO-BREAK SPACE}%",
        *finished_run.facts["labels"],
    ):
        assert words in seen.text
    drawn = sum("Plotly.newPlot(" in script for script in seen.scripts)
    assert drawn == 5  # accuracy, loss, rates, confusions, reliability
    shown = len(predictions.pictures) + predictions.augmented[..., 0, 0, 0].size
    assert len(seen.all("img")) == 1 + shown + len(predictions.originals)


def test_the_page_is_one_file(finished_run):
    seen = Seen(finished_run.page_path.read_text("utf-8"))
    for name in ("src", "href"):
        places = [a[name] for _, a in seen.tags if name in a]
        assert all(place.startswith("data:") for place in places)
    assert {"iframe", "object", "embed", "form"}.isdisjoint(tag for tag, _ in seen.tags)
    (policy,) = [a for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy["content"].startswith("default-src 'none'; img-src data:")


def test_the_same_run_gives_the_same_page(copied):
    before = copied.page_path.read_bytes()
    assert write_page(copied).read_bytes() == before


def test_names_of_classes_are_text_and_nothing_else(finished_run, predictions):
    results = finished_run.results | {"device": "one"}
    whole = Seen(page_of(results, predictions))
    hostile = {"labels": HOSTILE, "device": HOSTILE[0], "data": HOSTILE[3], "name": HOSTILE[1]}
    seen = Seen(page_of(results | hostile, predictions))
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in whole.tags]
    assert not any(name.startswith("on") for _, found in seen.tags for name in found)
    assert all("<script>alert" not in s and "</" not in s for s in seen.scripts[1:])
    for name in HOSTILE:
        assert name in seen.text


def test_the_recipe_is_told_in_words_and_numbers(finished_run):
    recipe = finished_run.results["recipe"] | {"val_fraction": 0.0, "epochs": 1, "nesterov": True}
    text = " ".join(Seen(page_of(finished_run.results | {"recipe": recipe})).text.split())
    for words in ("val_fraction 0.0 ", "epochs 1 ", "nesterov yes ", "ema none "):
        assert words in text


def test_a_run_that_held_no_images_out_says_that_its_exports_are_not_calibrated(
    finished_run, predictions
):
    without = finished_run.results | {"images": {"train": 1437, "val": 0, "test": 360}}
    assert "validation images, and this run had 0" in Seen(page_of(without, predictions)).text
    errors = {"test_error": 0.2, "test_error_after": 0.01}
    fitted = without | {"calibration": {"temperature": 0.5, "images": 300, **errors}}
    assert "this run had" not in Seen(page_of(fitted, predictions)).text


def test_a_page_without_predictions_says_what_is_missing(finished_run):
    page = page_of(finished_run.results, None, missing="cifar10 is not in /data")
    assert "are left out: cifar10 is not in /data." in Seen(page).text
    assert "Expected calibration error" not in page


def test_a_run_has_a_page_as_far_as_it_is(tiny_recipe, finished_run, tmp_path):
    facts = {"name": "tiny", "data": "digits", "seed": 0, "labels": list("0123456789")}
    run = Run.create(tmp_path / "run", tiny_recipe, facts)
    text = Seen(write_page(run).read_text("utf-8")).text
    assert "running after 0 of 3 epochs" in text and "Curves" not in text
    run.write_metrics(finished_run.metrics[:1])
    text = Seen(write_page(run).read_text("utf-8")).text
    assert "running after 1 of 3 epochs" in text and "Curves" in text
    assert "What is taken for what" not in text


def test_predictions_are_those_that_were_measured(finished_run, predictions, digits):
    test = finished_run.results["test"]
    said = predictions.logits.argmax(axis=1)
    assert (said == predictions.labels).mean() == pytest.approx(test["accuracy"])
    assert np.array_equal(predictions.labels, digits.y_test)
    assert np.array_equal(predictions.pictures, digits.x_test[predictions.shown])
    assert np.array_equal(predictions.originals, digits.x_train[: len(predictions.originals)])
    assert not np.array_equal(predictions.augmented[0], predictions.augmented[1])


def test_a_run_without_predictions_gets_them_from_its_network(copied, predictions):
    copied.predictions_path.unlink()
    found, missing = kept_or_computed(copied, copied.results)
    assert missing == "" and copied.predictions_path.is_file()
    np.testing.assert_allclose(found.logits, predictions.logits, atol=1e-4)


@pytest.mark.parametrize("data", ["cifar10", "eurosat", "tfds:rock_paper_scissors"])
def test_nothing_is_downloaded_for_a_page(data, copied, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    copied.predictions_path.unlink()
    found, missing = kept_or_computed(copied, copied.results | {"data": data})
    assert found is None and missing.startswith(f"{data} is not in ")
    assert not (tmp_path / "none").exists() and not copied.predictions_path.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100, None])
def test_damaged_predictions_are_one_line(content, copied):
    whole = copied.predictions_path.read_bytes()
    copied.predictions_path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(KerasResNetError, match=r"predictions\.npz is damaged; delete it"):
        write_page(copied)


def test_mistakes_come_most_confident_first_and_hits_least_certain_first(digits):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.55, 0.45], [0.3, 0.7]])
    labels = np.array([1, 1, 0, 0, 0])
    assert confident_mistakes(probabilities, labels).tolist() == [0, 4, 2]
    assert uncertain_hits(probabilities, labels).tolist() == [3, 1]
    perfect = 9 * np.eye(10)[digits.y_test]
    found = predictions_of(perfect, digits, ())
    assert len(found.pictures) == HITS < MISTAKES and not len(found.augmented)


def test_a_flip_that_takes_turns_is_shown_too(digits):
    found = predictions_of(np.eye(10)[digits.y_test], digits, ("flip(alternating=true)",))
    first, second, third = found.augmented[:3]
    assert np.array_equal(first, third) and np.array_equal(first[..., ::-1, :], second)


ROWS = [
    {"epoch": i, "loss": 2 / i, "accuracy": 0.2 * i, "val_loss": 2.1 / i, "learning_rate": 0.1}
    | {"val_accuracy": 0.2 * i, "momentum": 0.9 - 0.1 * i}
    for i in (1, 2, 3)
]
TEST = {"accuracy": 0.6, "images": 100, "tta": {"flip": {"accuracy": 0.7}}}


def test_plotly_knows_every_field_of_the_charts():
    import plotly.graph_objects as go

    bins = reliability(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
    figures = [
        *(charts.metric_chart(ROWS, m, keep="best", test=TEST) for m in ("loss", "accuracy")),
        charts.metric_chart(ROWS, "loss", keep="last", label_smoothing=0.1),
        charts.rates_chart(ROWS),
        charts.confusion_chart([[5, 1], [0, 4]], HOSTILE[:2]),
        charts.confusion_chart(np.eye(101, dtype=int), [str(i) for i in range(101)]),
        charts.reliability_chart(bins),
    ]
    for figure in figures:
        go.Figure(figure)  # raises ValueError for a name or a value that plotly does not know


def test_the_momentum_is_drawn_where_it_was_recorded():
    plain = [{name: row[name] for name in row if name != "momentum"} for row in ROWS]
    assert [line["name"] for line in charts.rates_chart(plain)["data"]] == ["learning rate"]
    rates = charts.rates_chart(ROWS)["data"]
    assert rates[1]["y"] == pytest.approx([0.8, 0.7, 0.6])


def test_colours_of_the_confusions_leave_the_diagonal_out():
    hits, mistakes = charts.confusion_chart([[90, 10], [0, 50]], ["a", "b"])["data"]
    assert mistakes["z"] == [[None, 10.0], [0.0, None]] and mistakes["zmax"] == 10
    assert hits["z"] == [[90.0, None], [None, 100.0]]


def report(*arguments):
    command = [sys.executable, "-m", "kerasresnet.report", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_writes_the_page_where_it_is_told(finished_run, tmp_path):
    done = report(finished_run.path, "--html", tmp_path / "page.html")
    assert done.stdout.split() == [str(tmp_path / "page.html")], done.stderr
    assert (tmp_path / "page.html").read_bytes() == finished_run.page_path.read_bytes()
    done = report("BB1x8", "--html", tmp_path / "other.html")
    assert done.returncode == 2 and "--html is the page of a RUN" in done.stderr


def test_a_results_file_alone_has_a_page_that_says_what_it_lacks(tmp_path):
    path = tmp_path / "page.html"
    done = report(ROOT / "results" / "quick" / "seed0.json", "--html", path)
    assert done.stdout.split() == [str(path)], done.stderr
    text = Seen(path.read_text("utf-8")).text
    assert "are left out: they are kept beside a results.json, in the run." in text


def test_all_fields_of_predictions_come_back(finished_run, predictions, copied):
    predictions.write(copied)
    again = Predictions.read(copied.predictions_path)
    for field in dataclasses.fields(Predictions):
        ours, theirs = getattr(again, field.name), getattr(predictions, field.name)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert json.dumps(finished_run.results)  # and nothing of them is in results.json
