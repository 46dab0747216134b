"""Markdown tables of what was measured, made of result files only."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.recipe import DEFAULTS

TABLE1 = "table1"  # the folder of all rows of Table 1 at a small cost


def markdown(head: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; `sides` has an l or r for each column."""

    def line(cells: Sequence[str]) -> str:
        return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)

    rule = "".join({"l": "---|", "r": "---:|"}[side] for side in sides)
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return [line(head), f"|{rule}", *map(line, escaped)]


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV table of `rows`, empty where one lacks a column."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def results_table(folder: Path) -> str:
    """A Markdown table of the results.json files below `folder`, seeds of one setting together.

    Runs belong together where recipe, data and precision are equal; minutes are told for each
    device. Accuracies are those of the plain network, then of the mean over mirror images. Left out
    is `folder`/table1: Table 1 at a small cost has a table of its own.
    Raises `UsageError` where there are none.
    """
    files = [
        read_json(path) for path in folder.rglob("*.json") if folder / TABLE1 not in path.parents
    ]
    found = [r for r in files if isinstance(r, dict) and {"recipe", "test"} <= r.keys()]
    if not found:
        raise UsageError(f"{folder} holds no result files; give a folder with results.json files")
    found.sort(key=lambda results: (_setting(results), results["seed"]))
    head = ["recipe", "network", "parameters", "MACs", "data: train / val / test", "epochs"]
    head += ["PFLOP", "seeds", "minutes (median)", "test accuracy", "with mirror image"]
    rows = [_row(list(group)) for _, group in itertools.groupby(found, key=_setting)]
    return "\n".join(markdown(head, "llrrlrrllrr", rows))


def _setting(results: dict[str, Any]) -> tuple[str, ...]:
    # The precision is that which was used, for a recipe's may be "auto".
    recipe = {**DEFAULTS, **results["recipe"], "precision": results["precision"]}
    return (results["name"], results["data"], str(sorted(recipe.items())))


def _row(runs: list[dict[str, Any]]) -> list[str]:
    first = runs[0]
    images = first["images"]
    minutes: dict[str, list[float]] = {}
    for run in runs:
        minutes.setdefault(run["device"], []).append(run["train_seconds"] / 60)
    plain = [run["test"]["accuracy"] for run in runs]
    mirrored = [run["test"]["tta"]["flip"]["accuracy"] for run in runs if "tta" in run["test"]]
    return [
        f"`{first['name']}`",
        f"`{first['recipe']['spec']}`",
        f"{first['parameters']:,}",
        f"{first['macs'] / 1e6:.1f} M",
        f"{first['data']}: {images['train']:,} / {images['val']:,} / {images['test']:,}",
        f"{len(first['epochs'])}{_share_of(first)}",
        f"{pflop_of(first):.3g}",
        ", ".join(str(run["seed"]) for run in runs),
        "; ".join(
            f"{statistics.median(each):.1f} ({device}, {first['precision']})"
            for device, each in minutes.items()
        ),
        mean_accuracy(plain, bold=True),
        mean_accuracy(mirrored) if len(mirrored) == len(runs) else "–",
    ]


def _share_of(results: dict[str, Any]) -> str:
    """How much of the images an epoch had, where that is not all of them."""
    share = results["recipe"].get("epoch_share", 1)
    return "" if share == 1 else f" × {share:g}"


def pflop_of(results: dict[str, Any]) -> float:
    """What the training cost; results of before it was written down had one size of images."""
    if "pflop" in results:
        return results["pflop"]
    batch = results["recipe"]["batch_size"]
    seen = results["images"]["train"] // batch * batch * len(results["epochs"])
    return 6 * results["macs"] * seen / 1e15


def mean_accuracy(accuracies: list[float], *, bold: bool = False) -> str:
    """Mean and, of several, standard deviation over seeds, in percent."""
    percent = [100 * accuracy for accuracy in accuracies]
    spread = f" ± {statistics.stdev(percent):.2f}" if len(percent) > 1 else ""
    mark = "**" if bold else ""
    return f"{mark}{statistics.mean(percent):.2f} %{mark}{spread}"


def speed_table(path: Path) -> str:
    """A Markdown table of what benchmarks/augment.py measured into the JSON file `path`."""
    measured = read_json(path)
    medians = {name: statistics.median(rates) for name, rates in measured["rates"].items()}
    ours = medians[measured["ours"]]
    head = ["", "images/s (median)", "our crop, flip, RandAugment is"]
    rows = ([name, f"{r:,.0f}", f"{ours / r:.1f} x as fast"] for name, r in medians.items())
    how = (
        f"{measured['device']}; batches of {measured['batch_size']}, {measured['rounds']} rounds "
        "in turn."
    )
    if measured["waiting"] is not None:
        how += f" Training with `quick` waits {measured['waiting']:.2%} of its time for data."
    return "\n".join([*markdown(head, "lrr", rows), "", how])


def serving_table(path: Path) -> str:
    """A Markdown table of what benchmarks/serving.py measured into the JSON file `path`."""
    measured = read_json(path)
    latency, rates = (
        {name: statistics.median(values) for name, values in measured[what].items()}
        for what in ("milliseconds", "images_a_second")
    )
    rows = ([name, f"{latency[name]:.2f}", f"{rates[name]:,.0f}"] for name in latency)
    lines = markdown(["", "1 image, ms", "64 images, images/s"], "lrr", rows)
    costs = (statistics.median(values) for values in measured["extra_cost"].values())
    how = (
        f"{measured['device']}; `{measured['network']}`, {measured['rounds']} rounds in turn, "
        f"medians. Guards and labels cost {next(costs):.1%} of one image's time, {next(costs):.1%} "
        "of 64 images'."
    )
    return "\n".join([*lines, "", how])


def formats_table(path: Path) -> str:
    """A Markdown table of what benchmarks/formats.py measured into the JSON file `path`."""
    measured = read_json(path)
    rows = (
        [name, f"{row['accuracy']:.2%}", f"{row['same_class']:.2%}", f"{row['megabytes']:.2f}"]
        for name, row in measured["formats"].items()
    )
    lines = markdown(["", "test accuracy", "same class as Keras", "MB"], "lrrr", rows)
    how = f"`{measured['recipe']}`, seed {measured['seed']}, all test images of {measured['data']}."
    return "\n".join([*lines, "", how])


FAULTS = {
    "kill": "killed at a random moment",
    "full": "full disk",
    "read-only": "read-only disk",
    "damage": "a damaged file",
}
RESULTS = ("survived", "refused", "lost", "traceback")


def faults_table(path: Path) -> str:
    """A Markdown table of what benchmarks/faults.py counted into the JSON file `path`."""
    found = read_json(path)
    counts = Counter((row["kind"], row["task"], row["result"]) for row in found["outcomes"])
    rows = []
    for kind, name in FAULTS.items():
        for task in ("fit", "search", "export"):
            each = [counts[kind, task, result] for result in RESULTS]
            if sum(each):
                rows.append([task, name, *map(str, [sum(each), *each])])
    head = ["", "", "tried", "survived", "refused", "lost", "tracebacks"]
    lines = markdown(head, "llrrrrr", rows)
    how = f"{found['device']}; {found['precision']}, TensorFlow {found['versions']['tensorflow']}."
    return "\n".join([*lines, "", how])


def begins(name: str) -> str:
    """The line behind which the table `name` stands."""
    return f"<!-- {name}:begin -->"


def put_between_markers(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers of `name`. Raises `UsageError` where it has none."""
    begin, end = begins(name), f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(f"the file needs one line {begin} and one {end}")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"
