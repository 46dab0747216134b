"""The report of a search says what its files say, the same each time; its best recipe trains."""

import csv
import json
import re

import pytest
from made_up_search import SECONDS, MadeUpSearch, made_up_score
from PIL import Image

from kerasresnet.errors import UsageError
from kerasresnet.fit.options import parse_fit_options
from kerasresnet.recipe import Recipe
from tuning.search.view.leaderboard import write_report
from tuning.search.view.page import choices_chart, costs_chart, rungs_chart, varied
from tuning.search.view.plots import _strips, draw_plots, residuals
from tuning.search.view.trials import SearchReader, best_trial, read_trials

TEXTS = ["leaderboard.md", "leaderboard.csv", "best.toml", "report.html", "leaderboard.json"]
PICTURES = ["rungs.png", "costs.png", "dimensions.png"]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    path = tmp_path_factory.mktemp("searches") / "made-up"
    return MadeUpSearch(path).finish(failing={"0004"})


@pytest.fixture(scope="module")
def report(search, tmp_path_factory):
    """The folder of the report, all of it and nothing else."""
    out = tmp_path_factory.mktemp("reports") / "deep" / "report"
    paths = write_report(search.path, out)
    assert sorted(paths) == sorted(out / name for name in (*TEXTS, *PICTURES))
    assert sorted(out.iterdir()) == sorted(paths)
    return out


def table_rows(report):
    text = (report / "leaderboard.md").read_text()
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    head = next(i for i, row in enumerate(found) if row[0] == "rank")
    end = next(i for i, row in enumerate(found) if row[0] == "dimension")
    return found[head], found[head + 2 : end]


def test_every_completed_trial_has_a_row_most_epochs_and_best_first(search, report):
    with open(report / "leaderboard.csv") as file:
        rows = list(csv.DictReader(file))
    completed = [t for t in search.oracle.trials.values() if t.status == "COMPLETED"]
    assert len(rows) == len(completed) == 23
    order = [(-int(row["epochs"]), -float(row["score"])) for row in rows]
    assert order == sorted(order)
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 24)]
    for trial in completed:
        (row,) = (row for row in rows if row["trial"] == trial.trial_id)
        values = trial.hyperparameters.values
        recipe = search.space.recipe(values)
        assert float(row["score"]) == trial.score
        assert row["spec"] == recipe.spec.to_text()
        assert float(row["seconds"]) == values["tuner/epochs"] * SECONDS
        assert row["promoted_from"] == values.get("tuner/trial_id", "")
        for name in search.space.dimensions:
            assert row[name] == str(values.get(name, ""))


def test_markdown_and_json_hold_the_same_rows(search, report):
    with open(report / "leaderboard.csv") as file:
        rows = list(csv.DictReader(file))
    written = json.loads((report / "leaderboard.json").read_text())
    head, lines = table_rows(report)
    assert len(written["trials"]) == len(lines) == len(rows)
    for row, entry, line in zip(rows, written["trials"], lines, strict=True):
        cells = dict(zip(head, line, strict=False))
        assert row["trial"] == entry["trial"] == cells["trial"]
        assert cells["network"] == f"`{row['spec']}`" == f"`{entry['spec']}`"
        assert cells["score"] == f"{100 * entry['score']:.2f} %"
        assert entry["val_accuracy"][-1] == entry["score"]
        assert len(entry["val_accuracy"]) == entry["epochs"]
        optimizer = entry["hyperparameters"]["optimizer"]
        rate = entry["hyperparameters"][f"{optimizer}.learning_rate"]
        assert (cells["optimizer"], float(cells["learning rate"])) == (optimizer, rate)
        assert {"schedule", "label smoothing", "augment"} <= cells.keys()
        # What the optimizer's name says already, and what no trial differs in.
        assert not {"momentum", "nesterov", "epochs planned", "batch size"} & cells.keys()
    assert written["failed"] == {"0004": "KerasResNetError: the loss became nan"}
    assert written["settings"] == search.read("search.json")["settings"]


def test_the_head_says_how_it_was_measured(report):
    text = (report / "leaderboard.md").read_text()
    for fact in (
        "hyperband, seed 3, up to 9 epochs, factor 3, 3 brackets",
        "23 of 23 done, 1 failed; 75 of 75 epochs",
        "digits: 400 images to train on, 100 others to score on; the test set was not touched",
        "a machine, float32",
        "keras 3.15",
        "12 min, summed over all trials",
    ):
        assert fact in text
    assert "wall time" not in text  # the runs do not say when they ended
    best = re.search(r"\*\*(.*) %\*\* ± (.*) \(standard error\)", text)
    share = float(best[1]) / 100
    assert float(best[2]) == pytest.approx(100 * (share * (1 - share) / 100) ** 0.5, abs=0.01)


def test_wall_time_is_from_the_first_start_to_the_last_end(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=3)
    for trial in search.oracle.trials.values():
        number = int(trial.trial_id)
        search.run_of(trial).update(finished=f"2026-01-31T12:{number:02}:30+0200")
    write_report(search.path)
    # Started 10:00 UTC, ended 12:02:30 two hours east of it.
    assert (
        "2 min 30 s from the first start" in (search.path / "report" / "leaderboard.md").read_text()
    )


def test_the_best_recipe_is_the_winners_and_fit_takes_it(search, report):
    best = best_trial(read_trials(search.path))
    path = report / "best.toml"
    options = parse_fit_options(["--data", "digits", "--recipe", str(path)])
    assert options.training == Recipe.load(path) == best.recipe.replace(name="digits-20000-best")
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = " ".join(line.removeprefix("#").strip() for line in head)
    assert f"trial {best.trial_id}, the best of 6 trials trained for 9 epochs" in text
    assert "python -m kerasresnet.fit --recipe best.toml --data digits" in text
    assert f"Validation accuracy {100 * best.score:.2f} %" in text
    assert "400 images to train on, 100 others to score on" in text
    assert f"{best.parameters:,} of at most 20,000 parameters" in text
    assert max(map(len, head)) <= 100


def test_before_the_last_rung_the_best_recipe_says_where_it_stood(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=2)
    write_report(search.path)
    text = (search.path / "report" / "best.toml").read_text()
    assert "2 trials trained for 1 epoch of 9 planned" in text
    assert Recipe.load(search.path / "report" / "best.toml").epochs == 9


def test_the_same_search_gives_the_same_bytes_and_stays_as_it_is(search, report, tmp_path):
    before = {path: path.read_bytes() for path in search.path.rglob("*") if path.is_file()}
    for path in write_report(search.path, tmp_path):
        assert path.read_bytes() == (report / path.name).read_bytes(), path.name
    after = {path: path.read_bytes() for path in search.path.rglob("*") if path.is_file()}
    assert before == after


def test_every_picture_is_named_in_the_text_and_shows_something(report):
    text = (report / "leaderboard.md").read_text()
    for name in PICTURES:
        assert f"]({name})" in text
        with Image.open(report / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8


def test_pictures_have_titles_no_empty_panel_and_no_mean_of_one_value(
    search, tmp_path, monkeypatch
):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    found = SearchReader(search.path).read()
    captions = draw_plots(found, [trial for trial in found.trials if trial.scored], tmp_path)
    titles = [figure.get_suptitle() for figure in figures]
    assert titles == [f"{caption}: digits, 20,000 parameters" for caption in captions]
    panels = figures[-1].axes
    assert {bool(axis.get_title()) for axis in panels} == {True, False}  # the last row has room
    assert all(axis.get_visible() == bool(axis.get_title()) for axis in panels)
    axis = Figure().subplots()
    _strips(axis, [("BB", 1.0), ("BN", -1.0), ("BN", 0.5)], ["BB", "BN"])
    (mean,) = axis.collections
    assert mean.get_segments()[0][:, 1].tolist() == [-0.25, -0.25]


def test_the_page_has_every_trial_and_every_dimension_that_varies(search, report):
    import plotly.graph_objects as go

    found = SearchReader(search.path).read()
    trials = [trial for trial in found.trials if trial.scored]
    dimensions = varied(found, trials)
    assert {"stacks", "optimizer"} <= dimensions.keys()
    lines = choices_chart(dimensions, trials)
    names = [axis["label"] for axis in lines["data"][0]["dimensions"]]
    assert names == ["accuracy, %", "epochs", *dimensions]
    for axis in lines["data"][0]["dimensions"]:
        assert len(axis["values"]) == len(trials)
    for figure in (lines, rungs_chart(trials), costs_chart(trials, "macs")):
        go.Figure(figure)  # raises ValueError for what plotly does not know
    page = (report / "report.html").read_text("utf-8")
    assert page.count("Plotly.newPlot(") >= 4
    assert all(f"<td>{trial.trial_id}</td>" in page for trial in trials)
    assert page.count('<table class="sortable"') == 1


def test_effects_are_against_trials_of_the_same_rung(search):
    trials = [trial for trial in read_trials(search.path) if trial.scored]
    found = residuals(trials)
    rungs = {}
    for trial in trials:
        rungs.setdefault((trial.bracket, trial.rung), []).append(trial)
    # The rung of one trial has nothing to be compared with.
    assert {t.trial_id for t in trials} - found.keys() == {rungs[2, 2][0].trial_id}
    for group in rungs.values():
        effects = [found.get(trial.trial_id, 0) for trial in group]
        assert sum(effects) == pytest.approx(0, abs=1e-9)
        assert effects[0] - effects[-1] == pytest.approx(100 * (group[0].score - group[-1].score))


def test_one_trial_has_a_report_without_the_dimensions(tmp_path):
    search = MadeUpSearch(tmp_path / "s", tuner="random", max_trials=1).finish()
    folder = search.path / "report"
    folder.mkdir()
    (folder / "dimensions.png").write_text("of an earlier report")
    assert [path.name for path in write_report(search.path)] == [*TEXTS, "rungs.png", "costs.png"]
    assert not (folder / "dimensions.png").exists()
    assert "dimensions.png" not in (folder / "leaderboard.md").read_text()
    assert "random, seed 3, up to 9 epochs |" in (folder / "leaderboard.md").read_text()


def test_a_random_search_reports_all_its_trials(tmp_path):
    search = MadeUpSearch(tmp_path / "s", tuner="random", max_trials=5).finish()
    write_report(search.path, tmp_path / "out")
    _, lines = table_rows(tmp_path / "out")
    scores = sorted((made_up_score(t.recipe, 9) for t in read_trials(search.path)), reverse=True)
    assert [line[2] for line in lines] == [f"{100 * score:.2f} %" for score in scores]


def refusal(folder):
    with pytest.raises(UsageError) as refused:
        write_report(folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_no_search_or_none_finished_is_refused(tmp_path):
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(tmp_path / "nowhere")
    assert f"{tmp_path} is no search" in refusal(tmp_path)
    search = MadeUpSearch(tmp_path / "s")
    assert "has finished yet (0 begun)" in refusal(search.path)
    trial = search.begin()
    search.train(trial)
    assert "has finished yet (1 begun); go on with the tuning.search" in refusal(search.path)
    search.end(trial, "ValueError: boom")
    assert "failed (1), the last one with: ValueError: boom;" in refusal(search.path)
    assert not (search.path / "report").exists()


def test_a_search_without_its_runs_or_a_report_over_a_file_is_refused(tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish(trials=2)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot make the report directory"):
        write_report(search.path, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (search.path / "trial_0001" / "run" / "recipe.toml").unlink()
    assert "trial_0001 has lost its run" in refusal(search.path)
