"""The report's Table 1 beside what was measured here, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kerasresnet.disk import read_json
from kerasresnet.network.budget import count_parameters
from kerasresnet.recipe import Recipe
from kerasresnet.report.tables import TABLE1, markdown, mean_accuracy, pflop_of


class Said(NamedTuple):
    """What the report says of a row: parameters as printed, test accuracy in percent."""

    parameters: str
    accuracy: float


# Table 1 of the student report "ResNet5M-CIFAR10", its two columns of results, row by row. What it
# says of networks, optimizers and epochs stands in the specs and recipes table1-01 … table1-12.
SAID = (
    *(Said("4.47M", accuracy) for accuracy in (93.32, 90.55, 89.13, 93.05)),
    *(Said("4.99M", accuracy) for accuracy in (81.03, 95.55, 91.97, 92.39, 92.73)),
    *(Said("4.98M", accuracy) for accuracy in (95.51, 93.37)),
    Said("4.99M", 93.82),
)
ROWS = range(1, len(SAID) + 1)
USUAL_EPOCHS = 200
OPTIMIZERS = {"sgd": "SGD+M", "adam": "Adam", "adagrad": "Adagrad", "rmsprop": "RMSprop"}
NOT_RUN = "not run"
OWN_RECIPE = {6: "row6"}  # the row's network, trained in full by a recipe of our own

Results = list[dict[str, Any]]  # results.json of each seed


def recipe_of(row: int) -> Recipe:
    """How the report trained a row, 1 … 12."""
    return Recipe.named(f"table1-{row:02}")


def table1(folder: Path) -> str:
    """Table 1 with exact parameters and our accuracies, from the result files below `folder`.

    `table1/<row>/seed<n>.json` hold all rows at one small cost, as benchmarks/table1.py writes
    them, `table1-<row>/` and `row6/` rows trained in full.
    """
    small = {row: results_in(folder / TABLE1 / f"{row:02}") for row in ROWS}
    heads = ["row", "block types", "blocks", "channels", "optimizer", "parameters, said", "exact"]
    heads += ["test accuracy, said", "ours, small cost", "images × epochs", "ours, in full"]
    rows = [_row(row, small[row], _in_full(folder, row)) for row in ROWS]
    lines = markdown(heads, "rllllrrrrrl", rows)
    lines += ["", f"\\* {recipe_of(1).epochs} epochs, all others {USUAL_EPOCHS}."]
    found = {row: results for row, results in small.items() if results}
    if found:
        lines += ["", _small_cost(found), "", *_ranking(found)]
    return "\n".join(lines).rstrip()


def results_in(folder: Path) -> Results:
    """The result files of a folder, by seed; none where it does not exist."""
    found = [read_json(path) for path in folder.glob("*.json")]
    return sorted(found, key=lambda results: results["seed"])


def _row(row: int, small: Results, full: str) -> list[str]:
    recipe, said = recipe_of(row), SAID[row - 1]
    stacks = recipe.spec.stacks
    shorter = "\\*" if recipe.epochs != USUAL_EPOCHS else ""
    images = f"{small[0]['images']['train']:,} × {len(small[0]['epochs'])}" if small else "–"
    return [
        str(row),
        " ".join(stack.block for stack in stacks),
        " ".join(str(stack.blocks) for stack in stacks),
        " ".join(str(stack.channels) for stack in stacks),
        OPTIMIZERS[recipe.optimizer],
        said.parameters,
        f"{count_parameters(recipe.spec):,}",
        f"{said.accuracy:.2f} %{shorter}",
        _accuracy(small) if small else NOT_RUN,
        images,
        full,
    ]


def _accuracy(runs: Results) -> str:
    return mean_accuracy([run["test"]["accuracy"] for run in runs])


def _in_full(folder: Path, row: int) -> str:
    """The rows of the report's own recipe and of ours, with seeds and cost."""
    names = [name for name in (recipe_of(row).name, OWN_RECIPE.get(row)) if name]
    found = {name: results_in(folder / name) for name in names}
    texts = [
        f"{_accuracy(runs)} (`{name}`, {_seeds(runs)}, {pflop_of(runs[0]):.3g} PFLOP)"
        for name, runs in found.items()
        if runs
    ]
    return "; ".join(texts) or NOT_RUN


def _seeds(runs: Results) -> str:
    seeds = [str(run["seed"]) for run in runs]
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _small_cost(small: dict[int, Results]) -> str:
    """What the small cost is, and on what it was paid."""
    runs = [run for results in small.values() for run in results]
    costs = [pflop_of(run) for run in runs]
    low, high = f"{min(costs):.3g}", f"{max(costs):.3g}"
    cost = low if low == high else f"{low} to {high}"
    minutes = statistics.median(run["train_seconds"] / 60 for run in runs)
    devices = dict.fromkeys(f"{run['device']}, {run['precision']}" for run in runs)
    seeds = ", ".join(dict.fromkeys(_seeds(results) for results in small.values()))
    missing = [str(row) for row in ROWS if row not in small]
    return (
        f"Small cost: {cost} PFLOP a row and seed on {runs[0]['data']}, {seeds}, "
        f"{minutes:.1f} minutes each in the median on {'; '.join(devices)}."
        + (f" Rows {', '.join(missing)} are not run." if missing else "")
    )


def _ranking(small: dict[int, Results]) -> list[str]:
    """Whether the report's order is ours: in all, and optimizer against optimizer."""
    ours = {
        row: statistics.mean(run["test"]["accuracy"] for run in runs) for row, runs in small.items()
    }
    said = {row: SAID[row - 1].accuracy for row in small}
    lines = []
    if len(small) > 2:
        rows = sorted(small)
        together = correlation([said[row] for row in rows], [ours[row] for row in rows])
        lines.append(
            f"- Rank correlation of the report's accuracies with ours over {len(rows)} rows: "
            f"{together:.2f} (1: the same order, 0: none, -1: the reverse)."
        )
    networks: dict[str, list[int]] = {}
    for row in small:
        networks.setdefault(str(recipe_of(row).spec), []).append(row)
    for network, rows in networks.items():
        if len(rows) > 1:
            theirs, mine = (_order(rows, accuracies) for accuracies in (said, ours))
            same = "ours is the same" if theirs == mine else f"ours: {mine}"
            lines.append(f"- `{network}`, report: {theirs}; {same}.")
    return lines


def _order(rows: Sequence[int], accuracies: dict[int, float]) -> str:
    best_first = sorted(rows, key=lambda row: -accuracies[row])
    return " > ".join(OPTIMIZERS[recipe_of(row).optimizer] for row in best_first)


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: of the ranks, equal values sharing theirs; 0 where all of one are equal."""
    ranks = [[(_below(values, v) + _below(values, v, True)) / 2 for v in values]
             for values in (first, second)]  # fmt: skip
    try:
        return statistics.correlation(*ranks)
    except statistics.StatisticsError:
        return 0.0


def _below(values: Sequence[float], limit: float, equal: bool = False) -> int:
    return sum(value < limit or (equal and value == limit) for value in values)
