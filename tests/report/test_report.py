"""Tables come from result files, pictures from what a run measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kerasresnet.errors import UsageError
from kerasresnet.report.__main__ import ReportOptions, all_tables, fill_in
from kerasresnet.report.tables import put_between_markers, results_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results_of(finished_run, tmp_path):
    """A function that writes the finished run's results again with some entries changed."""
    machine = {"device": "a machine", "precision": "float32"}
    base = finished_run.results | machine | {"parameters": 1234, "macs": 5_600_000}

    def write(file, **changes):
        (tmp_path / file).write_text(json.dumps(base | changes))
        return tmp_path

    return write


def test_seeds_of_one_setting_share_a_row_with_mean_and_deviation(results_of):
    for seed, accuracy in enumerate((0.90, 0.91, 0.92)):
        test = {"accuracy": accuracy, "tta": {"flip": {"accuracy": accuracy + 0.02}}}
        device, seconds = ("another", 600) if seed == 2 else ("a machine", 60 * (1 + 2 * seed))
        folder = results_of(
            f"{seed}.json", seed=seed, test=test, device=device, train_seconds=seconds
        )
    results_of("other.json", precision="bfloat16", test={"accuracy": 0.5})
    _, _, *rows = results_table(folder).splitlines()
    assert len(rows) == 2
    assert rows[0].endswith("| **50.00 %** | – |")
    assert "| 0, 1, 2 |" in rows[1]
    assert "| 2.0 (a machine, float32); 10.0 (another, float32) |" in rows[1]
    assert rows[1].endswith("| **91.00 %** ± 1.00 | 93.00 % ± 1.00 |")


def test_a_field_that_came_later_had_its_default_before(results_of, finished_run):
    recipe = finished_run.results["recipe"]
    assert recipe["class_weights"] == "equal"
    before = {name: value for name, value in recipe.items() if name != "class_weights"}
    results_of("0.json", seed=0, recipe=before | {"precision": "auto"})
    folder = results_of("1.json", seed=1, recipe=recipe | {"precision": "float32"})
    _, _, *rows = results_table(folder).splitlines()
    assert len(rows) == 1 and "| 0, 1 |" in rows[0]


def test_epochs_of_a_share_of_the_images_say_so(results_of, finished_run):
    recipe = finished_run.results["recipe"] | {"epoch_share": 0.75}
    folder = results_of("0.json", recipe=recipe)
    _, _, row = results_table(folder).splitlines()
    assert f"| {len(finished_run.results['epochs'])} × 0.75 |" in row


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no result files"):
        results_table(tmp_path)


def test_only_what_stands_between_the_markers_changes():
    text = "head\n<!-- a:begin -->\nold\n<!-- a:end -->\ntail\n"
    new = put_between_markers(text, "a", "new")
    assert new == "head\n<!-- a:begin -->\nnew\n<!-- a:end -->\ntail\n"
    with pytest.raises(UsageError, match="needs one line"):
        put_between_markers(text, "b", "new")


def test_table_1_at_a_small_cost_is_not_among_the_results(results_of):
    folder = results_of("0.json")
    before = results_table(folder)
    (folder / "table1" / "01").mkdir(parents=True)
    (folder / "table1" / "01" / "seed0.json").write_text((folder / "0.json").read_text())
    assert results_table(folder) == before


PAGES = ("augmentation", "serving", "table1", "trust")
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in PAGES))


def test_the_documents_hold_the_tables_that_the_result_files_give():
    measured = ROOT / "benchmarks"
    files = (measured / f"{name}.json" for name in ("augment", "serving", "formats", "faults"))
    tables = all_tables(ReportOptions(ROOT / "results", *files))
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    assert [fill_in(text, tables) for text in texts] == texts
    for name in tables:
        assert sum(f"<!-- {name}:begin -->" in text for text in texts) == 1, name


def test_a_file_without_a_place_for_a_table_is_refused():
    with pytest.raises(UsageError, match=r"has no place for a table.*tables are results, augment"):
        fill_in("text", all_tables(ReportOptions()))


def test_a_run_has_its_pictures(finished_run):
    for name in ("architecture.png", "block.png", "curves.png", "confusion.png"):
        data = (finished_run.path / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 10_000


def test_the_command_writes_into_a_file(results_of, tmp_path):
    folder = results_of("0.json")
    target = tmp_path / "README.md"
    names = ("results", "augment-speed", "serving-speed", "formats")
    target.write_text("".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in names))
    command = [sys.executable, "-m", "kerasresnet.report", "--results", str(folder)]
    subprocess.run([*command, "--into", str(target)], check=True, timeout=60, cwd=ROOT)
    assert "| `tiny` |" in target.read_text() and "torchvision" in target.read_text()
