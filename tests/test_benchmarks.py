"""Table 1 at a small cost: every row costs the same, and is trained as its recipe says."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Recipe
from kerasresnet.report.table1 import ROWS, table1
from kerasresnet.run import Run

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "table1.py"


def load(name="table1"):
    file = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table1_rows = load()


def test_every_row_costs_the_same_to_half_a_step_an_epoch():
    for row in ROWS:
        plan = table1_rows.plan(row, 0.1, 4)
        assert plan.images % plan.recipe.batch_size == 0
        step = sum(plan.recipe.pflop_by_epoch(plan.recipe.batch_size))
        assert abs(plan.pflop - 0.1) <= step / 2
        assert plan.pflop == pytest.approx(0.1, rel=0.011)


def test_only_epochs_and_the_moves_of_the_schedule_differ_from_the_rows_recipe():
    for row in ROWS:
        plan, full = table1_rows.plan(row, 0.1, 4), Recipe.named(f"table1-{row:02}")
        back = {"name": full.name, "epochs": full.epochs, "schedule_step": "epoch"}
        assert plan.recipe.replace(**back) == full


@given(st.integers(1, 50_000), st.floats(0, 0.9))
def test_the_images_with_validation_leave_those_to_train_on(images, fraction):
    part = table1_rows.with_validation(images, fraction)
    assert part - round(fraction * part) == images


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pflop", "0.001"], "row 12 costs 0.002 PFLOP for 4 epochs of one batch of 128, more"),
        (["--rows", "3", "14"], "rows are 1 to 12, received 14"),
        (["--seeds", "0"], "--rows, --seeds and --epochs are at least one"),
    ],
)
def test_what_cannot_be_is_told_before_anything_loads(arguments, words):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and words in done.stderr and not done.stdout


def test_a_dry_run_prints_the_plan_and_loads_no_framework(tmp_path):
    command = [sys.executable, "-X", "importtime", str(SCRIPT), "--dry-run", "--rows", "6", "12"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "6 trainings on cifar10, 0.601 PFLOP" in done.stdout and "0 of 3" in done.stdout
    assert " tensorflow\n" not in done.stderr and " keras\n" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def options(tmp_path, tiny_recipe, monkeypatch):
    """Options for two rows of a tiny network on the digits."""
    tiny = {"spec": "BB1x4s4", "batch_size": 64, "keep": "last", "augment": ()}
    recipe = tiny_recipe.replace(schedule="cosine", **tiny)
    monkeypatch.setattr(table1_rows, "recipe_of", lambda row: recipe.replace(name=f"row{row}"))
    pflop = 10.4 * sum(recipe.replace(epochs=2).pflop_by_epoch(64))
    folders = {"runs": tmp_path / "runs", "out": tmp_path / "results" / "table1"}
    return table1_rows.Table1Options(
        pflop=pflop, epochs=2, rows=(1, 4), seeds=1, data="digits", **folders
    )


def test_rows_are_trained_once_and_their_results_make_the_table(options, monkeypatch):
    options = dataclasses.replace(options, rows=(4,))
    plans = table1_rows.check(options)
    assert [plan.images for plan in plans] == [640]
    assert table1_rows.train_all(plans, options) == 0
    results = read_json(options.out / "04" / "seed0.json")
    assert results["images"] == {"train": 640, "val": 71, "test": 360}
    assert results["name"] == "row4-small"
    assert table1(options.out.parent).count("640 × 2") == 1
    monkeypatch.setattr(table1_rows, "train", None)
    assert table1_rows.train_all(plans, options) == 0  # nothing left
    with pytest.raises(UsageError, match="has 2 epochs of 640 images of digits, and 3 of"):
        table1_rows.check(dataclasses.replace(options, epochs=3))


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_end_goes_on(options, digits):
    from kerasresnet.fit import training

    (plan, _), before = table1_rows.check(options), training.train_run
    (options.runs / "01-seed0").mkdir(parents=True)  # killed before run.json was there

    def killed(run, *rest, **more):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "train_run", killed)
        table1_rows.train(plan, 0, digits, options)
    started = Run.open(options.runs / "01-seed0").facts["started"]
    assert training.train_run is before
    assert table1_rows.train(plan, 0, digits, options)["started"] == started
    other = plan._replace(part=plan.part + 1)
    with pytest.raises(UsageError, match="is a run of another cost"):
        table1_rows.train(other, 0, digits, options)


def test_a_row_that_fails_stops_no_other(options, monkeypatch, capsys):
    def train(plan, seed, data, options):
        if plan.row == 1:
            raise KerasResNetError("the training loss became nan")
        return {"test": {"accuracy": 0.5}, "train_seconds": 60}

    monkeypatch.setattr(table1_rows, "train", train)
    assert table1_rows.train_all(table1_rows.check(options), options) == 1
    printed = capsys.readouterr()
    assert "row 1, seed 0: FAILED: the training loss became nan" in printed.err
    assert "row 4, seed 0: 50.00%, 1.0 min" in printed.out


def test_more_images_than_there_are_is_refused(digits):
    with pytest.raises(UsageError, match="digits has 1,437 training images, and 1,438 are asked"):
        table1_rows.part_of(digits, 1438, 0)
    assert len(table1_rows.part_of(digits, 1437, 0).x_train) == 1437


def test_the_page_says_of_many_pictures_what_was_measured():
    page = (ROOT / "docs" / "data.md").read_text("utf-8")
    said = page.split("<!-- pictures:begin -->\n")[1].split("\n<!-- pictures:end -->")[0]
    pictures = load("pictures")
    found = read_json(ROOT / "benchmarks" / "pictures.json")
    assert said.split() == pictures.paragraph(found).split()


def test_the_page_says_of_large_searches_what_was_measured():
    page = (ROOT / "docs" / "search.md").read_text("utf-8")
    said = page.split("<!-- scale:begin -->\n")[1].split("\n<!-- scale:end -->")[0]
    found = read_json(ROOT / "benchmarks" / "search_scale.json")
    assert said.split() == load("search_scale").paragraph(found).split()


def test_the_effects_of_a_screen_are_those_that_its_trials_were_made_with():
    screen, rng = load("screen"), np.random.default_rng(0)
    trials = []
    for block in range(4):
        for changed in ([], [0], [1], [0, 1], [0, 1, 2], [2]):
            value = 90 + block + 0.5 * (0 in changed) - 2 * (1 in changed) + rng.normal(0, 0.01)
            trials.append({"changed": changed, "block": block, "plain": value})
    settings, blocks = screen.estimates(3, 4, trials, "plain")
    for estimate, expected in zip(settings, [0.5, -2, 0], strict=True):
        assert abs(estimate.value - expected) < 4 * estimate.error < 0.05
    for block, estimate in enumerate(blocks):  # with each setting changed by half
        assert abs(estimate.value - (90 + block + 0.25 - 1)) < 4 * estimate.error < 0.05


@pytest.mark.parametrize(("name", "shown"), [("screen", 1), ("screen_best", 2)])
def test_the_log_says_of_a_screen_what_was_measured(name, shown):
    found = read_json(ROOT / "benchmarks" / f"{name}.json")
    log = (ROOT / "LOG.md").read_text("utf-8").splitlines()
    for table in load("screen").tables(found)[:shown]:
        assert set(table) <= set(log)


def test_a_search_of_made_up_trials_is_measured_to_its_end(tmp_path):
    scale = load("search_scale")
    options = scale.ScaleOptions(slots=3, trials=100, tuner="random", max_params=300_000)
    found = scale.measure(options, tmp_path)
    assert found["milliseconds"]["processor"]["all"]["median"] > 0
    assert found["oracle_bytes"] < 1_000
    trials = list((tmp_path / "search").glob("trial_*/trial.json"))
    assert len(trials) == 103
