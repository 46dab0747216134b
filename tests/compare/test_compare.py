"""Runs side by side."""

import json
import sys

import pytest

from kerasresnet.compare.__main__ import differences, main, open_results, outcomes
from kerasresnet.compare.page import curves_chart


def results(**changes):
    recipe = {"name": "a", "spec": "BB1x8", "epochs": 2, "augment": ["crop"]}
    test = {"accuracy": 0.5, "loss": 1.25, "tta": {"flip": {"accuracy": 0.55}}}
    epochs = [{"epoch": 1, "accuracy": 0.25, "loss": 2.0}]
    whole = {"name": "a", "seed": 0, "data": "digits", "recipe": recipe, "epochs": epochs}
    return whole | {"test": test, "parameters": 1234, "train_seconds": 90.0} | changes


def test_only_what_differs_is_a_difference():
    one = results()
    other = results(seed=1, recipe=one["recipe"] | {"name": "b", "augment": ["crop", "flip"]})
    assert differences([one, other]) == {"seed": ["0", "1"], "augment": ["crop", "crop flip"]}
    assert differences([one, one]) == {}


def test_a_field_that_an_earlier_recipe_lacks_has_its_default():
    one = results()
    later = one["recipe"] | {"class_weights": "equal", "lookahead": None, "norm_momentum": 0.9}
    assert differences([one, results(recipe=later)]) == {}
    other = results(recipe=later | {"norm_momentum": 0.6})
    assert differences([one, other]) == {"norm_momentum": ["0.9", "0.6"]}


def test_the_cost_of_a_result_of_before_it_was_written_down_is_counted():
    images = {"images": {"train": 100, "val": 0, "test": 10}, "macs": 10**9}
    recipe = results()["recipe"] | {"batch_size": 50}
    rows = outcomes([results(recipe=recipe, **images), results(pflop=0.5, **images)])
    assert rows["PFLOP"] == ["0.0006", "0.5"]


def test_what_came_of_it_says_the_points_between():
    better = results(test={"accuracy": 0.625, "loss": 1.0})
    rows = outcomes([results(), better])
    assert rows["test accuracy"] == ["50.00%", "62.50% (+12.50)"]
    assert rows["with mirror images"] == ["55.00%", "–"]
    assert rows["training, minutes"] == ["1.5", "1.5"]
    assert rows["parameters"] == ["1,234", "1,234"]
    assert "validation accuracy" not in rows


def test_a_run_that_has_not_finished_is_compared_as_far_as_it_is(make_run, tiny_recipe):
    run = make_run(tiny_recipe)
    unfinished = open_results(run.path)
    assert outcomes([unfinished, results()])["epochs done"] == ["0", "1"]
    assert differences([unfinished, results()])["epochs"] == ["3", "2"]


def compare(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
    main()


def test_files_and_runs_go_side_by_side(monkeypatch, capsys, tmp_path, finished_run):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(results()))
    compare(monkeypatch, finished_run.path, path)
    printed = capsys.readouterr().out
    assert "stem8s2-BB1x8-BN1x4" in printed
    assert "test accuracy" in printed
    assert "other" in printed


def test_the_page_has_a_curve_and_a_row_for_every_run(monkeypatch, tmp_path, finished_run):
    import plotly.graph_objects as go

    (tmp_path / "<b>.json").write_text(json.dumps(results()))
    page = tmp_path / "compared.html"
    compare(monkeypatch, finished_run.path, tmp_path / "<b>.json", "--html", page)
    text = page.read_text("utf-8")
    assert text.count("Plotly.newPlot(") >= 2 and text.count('<table class="sortable"') == 1
    assert "<td>&lt;b&gt;</td>" in text and "<td>tiny</td>" in text and "<td><b>" not in text
    chart = curves_chart(["tiny", "<b>"], [finished_run.results, results()], "accuracy")
    go.Figure(chart)  # raises ValueError for what plotly does not know
    held_out, without = chart["data"]
    rows = finished_run.results["epochs"]
    assert held_out["y"] == [100 * row["val_accuracy"] for row in rows]
    assert without["y"] == [25] and without["name"] == "&lt;b&gt;, training images"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "give two runs or more to compare, received 0"),
        (["one.json", "nowhere"], "does not exist"),
        (["one.json", "strange.json"], "holds no results"),
    ],
)
def test_what_cannot_be_compared_is_told(monkeypatch, capsys, tmp_path, names, says):
    (tmp_path / "one.json").write_text(json.dumps(results()))
    (tmp_path / "strange.json").write_text("{}")
    with pytest.raises(SystemExit) as stop:
        compare(monkeypatch, *(tmp_path / name for name in names))
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
