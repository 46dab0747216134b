"""What pictures show: the network that the spec means, the run that the results tell."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from strategies import specs

from kerasresnet.errors import UsageError
from kerasresnet.network.budget import convolutions, count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.report.architecture import draw_architecture, parts_of
from kerasresnet.report.block import blocks_of, draw_blocks, main_path, shortcut_path
from kerasresnet.report.canvas import wrapped
from kerasresnet.report.confusion import draw_confusion
from kerasresnet.report.curves import draw_curves, kept_row, least_loss
from kerasresnet.report.pictures import draw, draw_run
from kerasresnet.run import Run

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "results" / "quick" / "seed0.json"
TWELVE = "-".join(f"B{'BN'[i % 2]}{i + 1}x{16 + i}s1" for i in range(12))
NAMES = ("architecture", "block")
NETWORKS = ["table1-06", "table1-12", "whiten2-BB1x64m-BB1x256m", "BB1x4-gelu-in28x28x1", TWELVE]


def is_picture(path, *, width=500):
    with Image.open(path) as image:
        assert image.width > width
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 5 and pixels[0, 0] == 255  # something is drawn, on white
    return True


@pytest.mark.parametrize("text", NETWORKS)
def test_networks_of_all_kinds_are_drawn(text, tmp_path):
    spec = ResNetSpec.from_text(text)
    assert is_picture(draw_architecture(spec, tmp_path / "architecture.png", title="a name"))
    assert is_picture(draw_blocks(spec, tmp_path / "block.png"))
    assert len(list(tmp_path.iterdir())) == 2  # nothing aside


@settings(max_examples=40)
@given(specs(stacks=12, blocks=50, channels=600, kernel=9, size=64, classes=1000))
def test_the_rows_are_the_networks_parts_with_its_costs_and_sizes(spec):
    images, stem, *stacks, head = parts_of(spec)
    assert images.out == spec.input_shape and stem.out == (*spec.stem_size, spec.stem)
    assert [part.stage for part in stacks] == list(spec.stages)
    assert stacks[-1].out == (*spec.final_size, spec.stacks[-1].out_channels)
    assert head.out == (spec.classes,)
    costs = [part.cost for part in (stem, *stacks, head)]
    assert sum(cost.parameters for cost in costs) == count_parameters(spec)
    assert sum(cost.macs for cost in costs) == count_macs(spec)


@settings(max_examples=40)
@given(specs(stacks=12, blocks=50, channels=600, kernel=9, size=64, classes=1000))
def test_every_kind_of_block_is_shown_once_with_the_convolutions_that_it_has(spec):
    sights = blocks_of(spec)
    kinds = [(s.block.kind, s.block.projects, s.block.pools) for s in sights]
    assert len(set(kinds)) == len(kinds) <= 6
    for sight in sights:
        boxes = [*main_path(sight.block), *shortcut_path(sight.block)]
        named = [box for box in boxes if box[0].endswith("convolution")]
        expected = [(f"{c.kernel}×{c.kernel}", c.out_channels) for c in convolutions(sight.block)]
        shown = [(box[0].split()[0], box[1].split("→ ")[1].split(", s")[0]) for box in named]
        assert shown == [(kernel, f"{out:,}") for kernel, out in expected]
        assert sum("stride" in box[1] for box in named) == (
            (1 + sight.block.projects) * (sight.block.stride > 1 and not sight.block.pools)
        )
        assert bool(shortcut_path(sight.block)) == sight.block.projects


def test_a_block_that_pools_says_where():
    first = ResNetSpec.from_text("whiten2-BN1x8m").stages[0].first
    heads = [box[0] for box in main_path(first)]
    convs = [f"{k}×{k} convolution" for k in (1, 3, 1)]
    assert heads == [convs[0], "2×2 max-pool", *convs[1:]]
    assert [box[0] for box in shortcut_path(first)] == ["2×2 max-pool", "1×1 convolution"]


def test_titles_break_between_words_only():
    text = "an-averaged-state-of-the-whole-network at 24 pixels"
    assert wrapped(text, 14).split("\n") == [
        "an-averaged-",
        "state-of-the-",
        "whole-network",
        "at 24 pixels",
    ]
    assert wrapped("unbreakableandlong", 4) == "unbreakableandlong"


ROWS = [
    {"epoch": i, "loss": 2 / i, "accuracy": 0.2 * i, "val_loss": 2.1 / i, "learning_rate": 0.1}
    | {"val_accuracy": accuracy}
    for i, accuracy in enumerate((0.5, 0.7, 0.7, 0.6), start=1)
]


def test_the_epoch_that_is_shown_is_the_one_that_the_run_keeps():
    assert kept_row(ROWS, "best")["epoch"] == 2
    assert kept_row(ROWS, "last")["epoch"] == 4
    alone = [{"epoch": 1, "loss": 1.0}]
    assert kept_row(alone, "best")["epoch"] == 1


def test_the_least_loss_is_that_of_the_targets_themselves():
    assert least_loss(0.1, 10) == pytest.approx(0.5003, abs=1e-4)
    target = np.full(4, 0.05) + np.array([0.8, 0, 0, 0])
    assert least_loss(0.2, 4) == pytest.approx(-(target * np.log(target)).sum())
    assert least_loss(0.999, 2) < math.log(2) + 1e-9


@pytest.mark.parametrize(
    "rows", [ROWS, ROWS[:1], [{k: r[k] for k in r if "val" not in k} for r in ROWS]]
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_curves_are_drawn_of_any_run(rows, smoothing, tmp_path):
    test = {"accuracy": 0.6, "images": 100, "tta": {"flip": {"accuracy": 0.7}}}
    path = tmp_path / "curves.png"
    assert is_picture(draw_curves(rows, path, title="x", test=test, label_smoothing=smoothing))


def test_few_mistakes_are_seen_beside_a_full_diagonal(tmp_path):
    clean, path = np.diag(np.full(10, 1000)), tmp_path / "confusion.png"
    class_names = [f"class {i}" for i in range(10)]

    def darkest(matrix):
        draw_confusion(matrix, class_names, path, title="x")
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        left = pixels[:, : int(0.85 * pixels.shape[1])]  # without the scale beside it
        return (left[..., 0] - left[..., 2]).max()  # how red

    assert darkest(clean) < 30
    clean[3, 5] = 9
    assert darkest(clean) > 100


def test_a_hundred_classes_and_a_run_without_any_test_image_are_drawn(tmp_path):
    class_names = [str(i) for i in range(100)]
    for matrix in (np.eye(100, dtype=int), np.zeros((100, 100), int)):
        assert is_picture(draw_confusion(matrix, class_names, tmp_path / "c.png", title="many"))


def test_a_sign_that_the_font_lacks_is_one_line_and_no_warning(tmp_path, capsys, recwarn):
    path = tmp_path / "c.png"
    assert is_picture(draw_confusion([[3, 1], [0, 2]], ["猫", "dodo"], path, title="猫"))
    assert capsys.readouterr().err == f"{path}: boxes stand for 猫, which its font does not have\n"
    assert not recwarn.list


def names(paths):
    return [path.name for path in paths]


def test_results_give_four_pictures_and_the_same_every_time(tmp_path):
    results = json.loads(QUICK.read_text())
    paths = draw_run(results, tmp_path, form="svg")
    assert names(paths) == ["architecture.svg", "block.svg", "curves.svg", "confusion.svg"]
    before = [path.read_bytes() for path in paths]
    assert all(data.startswith(b"<?xml") for data in before)
    assert [path.read_bytes() for path in draw(str(QUICK), tmp_path, form="svg")] == before


def test_specs_and_recipes_are_drawn_by_name(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "quick"\nspec = "BB1x8"\n')
    for what in ("BB1x8-BN1x8", "table1-06", "quick", str(tmp_path / "mine.toml")):
        assert names(draw(what, tmp_path / "new")) == [f"{name}.png" for name in NAMES]


def test_a_run_is_drawn_as_far_as_it_is(tiny_recipe, tmp_path):
    facts = {"name": "tiny", "labels": list("0123456789")}
    run = Run.create(tmp_path / "run", tiny_recipe, facts)
    assert names(draw(str(run.path), None)) == [f"{name}.png" for name in NAMES]
    run.write_metrics(ROWS)
    assert names(draw(str(run.path), None))[2:] == ["curves.png"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("BB2x4", "say where the pictures of BB2x4 go: --pictures DIR"),
        ("BB2", "cannot read 'BB2'"),
        ("runs/none", "runs/none does not exist"),
        ("docs", "docs is no run directory"),
        ("mine.toml", "cannot read recipe mine.toml"),
    ],
)
def test_what_cannot_be_drawn_is_refused(what, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UsageError, match=words):
        draw(what, None)


def test_a_file_without_results_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UsageError, match="holds no results"):
        draw(str(ROOT / "benchmarks" / "formats.json"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def report(*arguments, python=()):
    command = [sys.executable, *python, "-m", "kerasresnet.report", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_draws_without_a_framework_and_says_what_it_wrote(tmp_path):
    done = report("BB1x8", "--pictures", str(tmp_path / "a"), python=("-X", "importtime"))
    assert done.stdout.split() == [str(tmp_path / "a" / f"{n}.png") for n in NAMES]
    assert " matplotlib\n" in done.stderr
    assert " keras\n" not in done.stderr and " tensorflow\n" not in done.stderr


@pytest.mark.parametrize("wrong", [["--pictures", "a"], ["BB1x8", "--into", "README.md"]])
def test_the_command_draws_or_writes_tables_and_needs_something_to_draw(wrong):
    done = report(*wrong)
    assert done.returncode == 2 and "pictures are those of a RUN or a SPEC" in done.stderr
