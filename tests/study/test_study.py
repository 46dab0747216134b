"""A study changes one thing at a time, checks it all first, survives anything, and reports."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pictures import write_classes

from kerasresnet.command import duration
from kerasresnet.data import DataRequest
from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.run import Run
from tuning.study import __main__ as study_module
from tuning.study.__main__ import Clock, run_study
from tuning.study.options import StudyOptions
from tuning.study.page import factor_chart
from tuning.study.process import look
from tuning.study.report import draw_plot, write_report
from tuning.study.runs import Study

ROOT = Path(__file__).resolve().parents[2]


def command(*flags):
    return [sys.executable, "-m", "tuning.study", "--base", "tiny.toml", "--data", "digits", *flags]


@pytest.fixture
def here(tmp_path, monkeypatch, tiny_recipe):
    """An empty folder to work in, with the tiny recipe, of one epoch, as tiny.toml."""
    (tmp_path / "tiny.toml").write_text(tiny_recipe.replace(epochs=1).to_toml())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def tiny_study(here):
    """A function that gives the study of the tiny recipe for some values."""

    def make(*varied, **options):
        options = {"base": "tiny.toml", "data": "digits", "dir": here / "study"} | options
        study, mistakes = StudyOptions(vary=varied, **options).resolve()
        assert not mistakes
        return study

    return make


@pytest.fixture
def finish(finished_run):
    """A function that writes a result file for a run of a study that was never trained."""

    def write(study_run, val=0.8, test=0.7, **changes):
        results = json.loads(json.dumps(finished_run.results))
        results |= {"device": "a machine", "precision": "float32", "seed": study_run.seed}
        results["recipe"] = study_run.recipe.model_dump(mode="json")
        for row, score in zip(results["epochs"], (val - 0.1, val, val - 0.2), strict=True):
            row["val_accuracy"] = score
        results["test"]["accuracy"] = test
        Run.create(study_run.run.path, study_run.recipe, {"name": study_run.recipe.name})
        study_run.run.results_path.write_text(json.dumps(results | changes))

    return write


def test_the_bases_own_value_is_the_base_and_trained_once(tiny_study):
    study = tiny_study("batch_size=32,64,032", "pool=global,2", "ema=none,0.9", seeds=2)
    names = ["base", "batch_size-32", "pool-2", "ema-0.9"]
    assert [r.name for r in study.runs()] == [f"{n}-seed{k}" for k in (0, 1) for n in names]
    labels = [s.label for s in study.settings if s.is_base]
    assert labels == ["base", "batch_size=64", "pool=global", "ema=none"]


# What is refused


MISTAKES = {
    "learning_rate=abc": "learning_rate=abc: Recipe learning_rate: input should be a valid number",
    "poool=4": "unknown factor 'poool': did you mean 'pool'?",
    "pool": "pool: write FACTOR=VALUE",
    "pool=64": "pool=64: pool 64 is larger than the 8x8",
    "channels=512": "over the limit of 5,000",
    "channels=8:8:8": "channels=8:8:8: 3 values for the 2 stacks",
    "block=XX": "input should be 'BB' or 'BN'",
    "conv_kernel=4": "a kernel must be odd",
    "optimizer=lion": "write it behind, optimizer=lion@0.001",
    "optimizer=sdg": "did you mean 'sgd'",
    "augment=crop+flop": "unknown augmentation 'flop'",
    "batch_size=64,": "batch_size=: a value is missing",
    "max_params=5": "unknown factor 'max_params'",
    "spec=BB1x8-in28x28x1": "digits has images of 32x32x3",
    "batch_size=5000": "not one batch of 5,000",
}


def test_every_mistake_is_told_at_once_before_anything_is_made(here, monkeypatch, capsys):
    flags = [flag for text in MISTAKES for flag in ("--vary", text)]
    arguments = [*command(*flags, "--max-params", "5000")[3:], "--vary", "ema=0.5"]
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    with pytest.raises(SystemExit) as stop:
        study_module.main()
    assert stop.value.code == 2
    head, *lines = capsys.readouterr().err.strip().splitlines()
    assert head.startswith(f"tuning.study: error: {len(MISTAKES)} things cannot be studied")
    assert len(lines) == len(MISTAKES)
    for expected in MISTAKES.values():
        assert any(expected in line for line in lines), expected
    assert [path.name for path in here.iterdir()] == ["tiny.toml"]


def test_one_mistake_is_one_line_and_says_what_would_help(here):
    options = {"base": "tiny.toml", "data": "digits", "max_params": 3000}
    with pytest.raises(UsageError, match=r"^conv_kernel=9: .*over the limit .* with --widen$"):
        run_study(StudyOptions(vary=("conv_kernel=3,9",), **options))
    with pytest.raises(UsageError, match="add --vary"):
        run_study(StudyOptions(**options))
    with pytest.raises(UsageError, match="received 0"):
        run_study(StudyOptions(vary=("pool=2",), seeds=0, **options))


def test_what_the_data_refuses_for_the_base_is_told_once(tiny_study):
    base = tiny_study("pool=2", "ema=0.9", epochs=2).settings
    shifted = tuple(type(s)(s.factor, s.value, s.recipe.replace(batch_size=4000)) for s in base)
    _, mistakes = look(shifted, DataRequest("digits"), None, True)
    assert len(mistakes) == 1 and mistakes[0].startswith("base: digits leaves")


def test_a_study_of_your_own_pictures_has_their_classes_and_tells_its_runs(here, monkeypatch):
    folder = write_classes(here / "pictures", {"a": 30, "b": 20})
    options = StudyOptions(vary=("ema=0.9",), data=str(folder), image_size=16, on_bad_image="skip")
    study, mistakes = options.resolve()
    assert not mistakes and study.path == Path("studies/pictures-small-ema")
    assert study.settings[1].recipe.spec.to_text().endswith("-classes2-in16x16x3")
    with study.begun():
        assert Study.open(study.path) == study
    facts, refused = look(
        study.settings, DataRequest.from_facts(study.data, study.data_settings), None, False
    )
    assert not refused and set(facts) == {"base", "ema-0.9"}
    assert all(each["labels"] == ["a", "b"] for each in facts.values())
    settings = facts["base"]["data_settings"]
    assert settings["size"] == [16, 16] and settings["fingerprint"]


# The directory


def test_a_study_goes_on_with_more_of_the_same_and_refuses_anything_else(tiny_study):
    study = tiny_study("pool=2", seeds=2)
    with study.begun():
        assert Study.open(study.path) == study
    for grown in (tiny_study("pool=2,4", seeds=2), tiny_study("ema=0.9", "pool=4,2", seeds=3)):
        with grown.begun():
            assert {run.name for run in study.runs()} <= {run.name for run in grown.runs()}
    refused = {
        "epochs is 1 there and 2 here;": tiny_study("pool=2,4", "ema=0.9", epochs=2),
        "seeds is 3 there and 2 here": tiny_study("pool=2,4", "ema=0.9", seeds=2),
        "pool=4 is there and not here": tiny_study("pool=2", "ema=0.9"),
        "data is 'digits' there and 'cifar10' here": tiny_study("pool=2", data="cifar10"),
    }
    for expected, other in refused.items():
        with pytest.raises(UsageError) as error, other.begun():
            pass
        assert expected in str(error.value)
        assert str(error.value).count(expected) == 1
    assert Study.open(study.path).seeds == 3


def test_two_studies_in_one_directory_at_once_are_refused(tiny_study):
    study = tiny_study("pool=2")
    with study.begun(), pytest.raises(UsageError, match="another study is running"):  # noqa: SIM117
        with study.begun():
            pass
    with study.begun():
        pass


def test_a_directory_of_something_else_is_left_alone(tiny_study):
    study = tiny_study("pool=2")
    study.path.mkdir()
    (study.path / "mine.txt").touch()
    with pytest.raises(UsageError, match="is no study of ours"), study.begun():
        pass
    with pytest.raises(UsageError, match="it has no study"):
        Study.open(study.path)
    assert [path.name for path in study.path.iterdir()] == ["mine.txt"]


# The report


def test_a_row_is_a_value_with_mean_and_deviation_over_seeds(tiny_study, finish):
    study = tiny_study("pool=global,2", "ema=0.9", seeds=3)
    with study.begun():
        pass
    for run in study.runs():
        if run.recipe.name != "ema-0.9":
            finish(run, test=0.7 + 0.01 * run.seed + (run.recipe.name == "pool-2") * 0.1)
    broken = study.runs()[2]
    Run.create(broken.run.path, broken.recipe, {"seed": broken.seed})
    broken.run.update(status="failed", error="it broke")
    markdown, table, facts, plot, page = write_report(study)
    text = markdown.read_text()
    assert "| `pool=global` (the base) | `stem8s2-BB1x8-BN1x4` | 2,034 |" in text
    assert "| 0, 1, 2 | 80.00 % ± 0.00 | 71.00 % ± 1.00 |" in text
    assert "| 0, 1, 2 | 80.00 % ± 0.00 | 81.00 % ± 1.00 |" in text
    assert "| `ema=0.9` | `stem8s2-BB1x8-BN1x4` | 2,034 | 0.4 M | none | – | – | – |" in text
    assert text.count("| `base` |") == 1  # beside ema only: pool has the base among its values
    assert "- `ema-0.9-seed0`: it broke" in text and "6 of 9 runs finished" in text
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["setting"] for row in rows] == ["pool=global", "pool=2", "base", "ema=0.9"]
    assert float(rows[1]["test_mean"]) == pytest.approx(0.81) and rows[1]["seeds"] == "0 1 2"
    assert read_json(facts)["factors"]["pool"][0]["test_accuracy"] == [0.7, 0.71, 0.72]
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = page.read_text("utf-8")
    assert shown.count("Plotly.newPlot(") >= 2 and "it broke" in shown
    assert shown.count('<table class="sortable"') == 2  # a table for each factor
    assert "<code>pool=global (the base)</code>" in shown.replace("\N{NO-BREAK SPACE}", " ")
    assert "pool=global, seed 2" in shown


def test_panels_share_an_axis_and_titles_are_broken_between_words(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: saved.append(self))
    tables = {
        name: [{"setting": name, "is_base": False} | scored(score)]
        for name, score in (("pool", 0.2), ("ema", 0.9))
    }
    draw_plot(tables, tmp_path / "plot.png", title="word " * 20 + "end")
    first, second = saved[0].axes
    assert first.get_xlim() == second.get_xlim() and first.get_xlim()[1] > 90
    lines = saved[0].get_suptitle().split("\n")
    assert len(lines) == 2 and {*lines[0].split(), *lines[1].split()} == {"word", "end"}


def scored(score):
    row = {f"{part}_accuracy": [score, score] for part in ("val", "test")}
    row |= {f"{part}_mean": score for part in ("val", "test")}
    return row | {f"{part}_std": 0.01 for part in ("val", "test")}


def test_plotly_knows_every_field_of_the_chart():
    import plotly.graph_objects as go

    row = {"setting": "<b>", "seeds": [0, 1]}
    row |= {f"{part}_{name}": 0.5 for part in ("val", "test") for name in ("mean", "std")}
    none = row | {"seeds": [], "val_mean": None, "test_mean": None}
    scores, nothing = ({f"{part}_accuracy": found for part in ("val", "test")}
                       for found in ([0.4, 0.6], []))  # fmt: skip
    chart = factor_chart([row | scores, none | nothing])
    go.Figure(chart)  # raises ValueError for what plotly does not know
    assert chart["data"][0]["x"] == [40, 60] and chart["data"][1]["x"] == [50]
    assert chart["layout"]["yaxis"]["ticktext"] == ["&lt;b&gt;"] * 2


def test_validation_accuracy_is_that_of_the_weights_that_were_kept(tiny_study, finish):
    study = tiny_study("keep=last", seeds=1)
    for run in study.runs():
        finish(run, val=0.8)
    rows = read_json(write_report(study)[2])["factors"]["keep"]
    assert [row["val_mean"] for row in rows] == pytest.approx([0.8, 0.6])


def test_a_study_without_results_has_no_report(tiny_study):
    with pytest.raises(UsageError, match="nothing to report yet"):
        write_report(tiny_study("pool=2"))


def test_time_left_follows_epochs_times_cost(tiny_study):
    study, times = tiny_study("blocks=4", seeds=1, epochs=10), iter([0.0, 600.0])
    runs = study.runs()
    clock = Clock(runs, now=lambda: next(times))
    assert clock.left() == "time left not known yet"
    Run.create(runs[0].run.path, runs[0].recipe, {})
    runs[0].run.write_metrics([{"epoch": n + 1} for n in range(5)])
    share = runs[1].work / runs[0].work
    assert share > 1.5
    assert clock.left() == f"about {duration(600 * (5 + 10 * share) / 5)} left"
    clock.given_up = {run.name for run in runs}
    assert clock.left() == "all done"


# The command


def test_help_loads_no_framework():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tuning.study", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "usage: python -m tuning.study" in done.stdout and "optimizer=adam@" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kerasresnet.recipe" in loaded
    assert not loaded & {"tensorflow", "keras", "keras_tuner", "matplotlib.figure"}


@pytest.mark.slow
def test_a_run_that_fails_is_recorded_and_the_study_goes_on(here):
    flags = ["--vary", "learning_rate=0.05,1e30", "--seeds", "1", "--dir", "study"]
    done = subprocess.run(command(*flags), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    good, bad = Study.open(here / "study").runs()
    assert good.finished and good.run.results["images"]["test"] == 360
    assert good.run.facts["parameters"] == 2034 and good.run.facts["precision"] == "float32"
    assert not bad.finished and "the training loss became" in bad.error
    assert f"failed: {bad.name}: KerasResNetError: the training loss" in done.stderr
    assert "| `learning_rate=0.05` (the base) |" in done.stdout
    assert "0 of 1" in done.stdout and "2 epochs in all" in done.stdout
    report = {"table.md", "table.csv", "table.json", "plot.png", "report.html"}
    assert report <= {path.name for path in (here / "study").iterdir()}
    for name in report:
        (here / "study" / name).unlink()
    again = [sys.executable, "-m", "tuning.study", "--report", "study"]
    subprocess.run(again, check=True, timeout=60)
    assert report <= {path.name for path in (here / "study").iterdir()}


def test_finished_runs_are_not_trained_again(tiny_study, finish, capsys):
    study = tiny_study("pool=2", seeds=2)
    with study.begun():
        pass
    for run in study.runs():
        finish(run)
    options = {"base": "tiny.toml", "data": "digits", "dir": study.path, "seeds": 2}
    assert run_study(StudyOptions(vary=("pool=2",), **options)) == 0
    assert "2 of 2" in capsys.readouterr().out
    assert not (study.path / "logs").exists()


def wait_for_state(study, run, process):
    deadline = time.monotonic() + 120
    while not list((study / "runs" / run).glob("state-*.weights.h5")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(here):
    flags = command("--vary", "keep=last", "--seeds", "1", "--epochs", "40", "--dir", "study")
    process = subprocess.Popen(flags, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for_state(here / "study", "base-seed0", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "stopped after 0 of 2 runs" in errors and "Traceback" not in errors
    assert " ".join(flags[3:]) in errors
    base = Study.open(here / "study").runs()[0]
    before = base.run.metrics
    assert base.run.facts["status"] == "interrupted" and 0 < len(before) < 40
    done = subprocess.run(flags, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert base.run.metrics[: len(before)] == before and len(base.run.metrics) == 40


@pytest.mark.slow
def test_kill_9_of_a_training_costs_one_run_and_of_the_study_leaves_no_orphan(here):
    flags = command("--vary", "keep=last", "--seeds", "1", "--epochs", "40", "--dir", "study")
    process = subprocess.Popen(flags)
    wait_for_state(here / "study", "base-seed0", process)
    (child,) = psutil.Process(process.pid).children()
    child.kill()
    wait_for_state(here / "study", "keep-last-seed0", process)
    base, other = Study.open(here / "study").runs()
    assert base.error.startswith("its process ended by SIGKILL; see ")
    (child,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert child.wait(timeout=30) is None or not child.is_running()
    done = subprocess.run(flags, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert base.error is None and len(base.run.metrics) == len(other.run.metrics) == 40
