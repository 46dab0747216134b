"""Table 1 says what the report says, what its networks have, and what was measured here."""

import json
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from kerasresnet.report.table1 import ROWS, SAID, correlation, recipe_of, table1

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "table1.json").read_text())


def rows_of(table):
    cells = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in cells[1:]]


@pytest.fixture
def write(tmp_path):
    """A function that writes a result file of a row below the folder that it returns."""

    def write(place, row, *, seed=0, accuracy=0.5, pflop=0.1):
        results = {
            "name": recipe_of(row).name,
            "data": "cifar10",
            "seed": seed,
            "device": "a machine",
            "precision": "float32",
            "images": {"train": 7552},
            "epochs": [{}, {}, {}],
            "train_seconds": 120,
            "pflop": pflop,
            "test": {"accuracy": accuracy},
        }
        path = tmp_path / place / f"seed{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results))
        return tmp_path

    return write


def test_every_row_stands_with_exact_parameters_and_says_that_it_was_not_run(tmp_path):
    table = table1(tmp_path)
    rows = rows_of(table)
    assert [int(row[0]) for row in rows] == list(ROWS) == list(range(1, 13))
    assert [row[6] for row in rows] == [f"{row['parameters']:,}" for row in GOLDEN.values()]
    assert rows[7][1:6] == ["BN BB BB BN", "2 2 2 2", "64 128 232 256", "SGD+M", "4.99M"]
    assert [row[7] for row in rows if "*" in row[7]] == [
        rf"{accuracy} %\*" for accuracy in ("93.32", "93.37", "93.82")
    ]
    assert all(row[8:] == ["not run", "–", "not run"] for row in rows)
    assert table.endswith("130 epochs, all others 200.")


def test_the_reports_figures_are_these():
    assert SAID[5] == ("4.99M", 95.55)
    assert [said.parameters for said in SAID] == ["4.47M"] * 4 + ["4.99M"] * 5 + ["4.98M"] * 2 + [
        "4.99M"
    ]


def test_seeds_share_a_cell_and_the_cost_is_told(write):
    write("table1/06", 6, seed=0, accuracy=0.60)
    folder = write("table1/06", 6, seed=1, accuracy=0.62, pflop=0.0996)
    table = table1(folder)
    assert rows_of(table)[5][8:10] == ["61.00 % ± 1.41", "7,552 × 3"]
    assert "Small cost: 0.0996 to 0.1 PFLOP a row and seed on cifar10, seeds 0, 1, 2.0 min" in table
    assert "Rows 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12 are not run." in table


def test_rows_trained_in_full_stand_beside_the_small_cost(write):
    write("table1-06", 6, accuracy=0.95, pflop=23.7)
    write("row6", 6, seed=3, accuracy=0.9601, pflop=6)
    folder = write("table1-06-300k", 6, accuracy=0.1)
    assert rows_of(table1(folder))[5][10] == (
        "95.00 % (`table1-06`, seed 0, 23.7 PFLOP); 96.01 % (`row6`, seed 3, 6 PFLOP)"
    )


def test_the_order_of_optimizers_is_compared(write):
    for row, accuracy in {1: 0.7, 2: 0.4, 3: 0.5, 4: 0.6, 10: 0.5, 11: 0.4}.items():
        folder = write(f"table1/{row:02}", row, accuracy=accuracy)
    table = table1(folder)
    assert "report: SGD+M > Adam > Adagrad > RMSprop; ours: SGD+M > Adam > RMSprop > Ada" in table
    assert "report: SGD+M > Adam; ours is the same." in table
    assert "over 6 rows: 0.03 " in table


@pytest.mark.parametrize("first, second", [([3, 1, 2, 2], [1, 5, 2, 8]), ([1, 2, 3], [4, 5, 6])])
def test_the_rank_correlation_is_spearmans(first, second):
    assert correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert correlation(first, [1] * len(first)) == 0
