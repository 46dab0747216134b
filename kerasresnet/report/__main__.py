"""Pictures and tables of what was measured, drawn from result files only.

    python -m kerasresnet.report --into README.md

writes the tables of the result files in `results/` and `benchmarks/` between their markers.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.command import parse
from kerasresnet.errors import UsageError, exit_on_error
from kerasresnet.run import read_json, write_text


def draw_curves(rows: list[dict[str, float]], path: Path, *, title: str) -> None:
    """Loss and accuracy against the epoch, training and validation, as a PNG at `path`."""
    figure, axes = _subplots(1, 2, figsize=(10, 4))
    epochs = [row["epoch"] for row in rows]
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, [row[metric] for row in rows], label="training", marker=".")
        if f"val_{metric}" in rows[0]:
            values = [row[f"val_{metric}"] for row in rows]
            axis.plot(epochs, values, label="validation", marker=".")
        axis.set_xlabel("epoch")
        axis.set_ylabel(metric)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def draw_confusion(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], path: Path, *, title: str
) -> None:
    """Counts of predicted (columns) for true classes (rows), as a PNG at `path`."""
    counts = np.asarray(matrix)
    side = 2 + 0.6 * len(labels)
    figure, axis = _subplots(1, 1, figsize=(side, side))
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title)
    figure.savefig(path, dpi=120)


def _subplots(rows: int, columns: int, **settings: Any) -> tuple[Any, Any]:
    # Figure without pyplot: no display needed, nothing global left open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", **settings)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def results_table(folder: Path) -> str:
    """A Markdown table of the results.json files below `folder`, seeds of one setting together.

    Runs belong together where everything but the seed is equal: recipe, data, device, precision.
    Raises `UsageError` where there are none.
    """
    files = [read_json(path) for path in folder.rglob("*.json")]
    found = [r for r in files if isinstance(r, dict) and {"recipe", "test"} <= r.keys()]
    if not found:
        raise UsageError(f"{folder} holds no result files; give a folder with results.json files")
    found.sort(key=lambda results: (_setting(results), results["seed"]))
    lines = [
        "| recipe | network | parameters | MACs | data: train / val / test | epochs | seeds "
        "| device | minutes (median) | test accuracy |",
        "|---|---|---:|---:|---|---:|---|---|---:|---:|",
    ]
    lines += [_row(list(group)) for _, group in itertools.groupby(found, key=_setting)]
    return "\n".join(lines)


def _setting(results: dict[str, Any]) -> tuple[str, ...]:
    keys = ("name", "data", "device", "precision", "recipe")
    return tuple(str(results[key]) for key in keys)


def _row(runs: list[dict[str, Any]]) -> str:
    first = runs[0]
    accuracies = [100 * run["test"]["accuracy"] for run in runs]
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
    minutes = statistics.median(run["train_seconds"] / 60 for run in runs)
    images = first["images"]
    return " | ".join(
        [
            f"| `{first['name']}`",
            f"`{first['recipe']['spec']}`",
            f"{first['parameters']:,}",
            f"{first['macs'] / 1e6:.1f} M",
            f"{first['data']}: {images['train']:,} / {images['val']:,} / {images['test']:,}",
            str(len(first["epochs"])),
            ", ".join(str(run["seed"]) for run in runs),
            f"{first['device']}, {first['precision']}",
            f"{minutes:.1f}",
            f"**{statistics.mean(accuracies):.2f} %**{spread} |",
        ]
    )


def speed_table(path: Path) -> str:
    """A Markdown table of what benchmarks/augment.py measured into the JSON file `path`."""
    measured = read_json(path)
    medians = {name: statistics.median(rates) for name, rates in measured["rates"].items()}
    ours = medians[measured["ours"]]
    lines = ["| | images/s (median) | our crop, flip, RandAugment is |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {rate:,.0f} | {ours / rate:.1f} x as fast |" for name, rate in medians.items()
    ]
    how = (
        f"{measured['device']}; batches of {measured['batch_size']}, {measured['rounds']} rounds "
        "in turn."
    )
    if measured["waiting"] is not None:
        how += f" Training with `quick` waits {measured['waiting']:.2%} of its time for data."
    return "\n".join([*lines, "", how])


def serving_table(path: Path) -> str:
    """A Markdown table of what benchmarks/serving.py measured into the JSON file `path`."""
    measured = read_json(path)
    latency, rates = (
        {name: statistics.median(values) for name, values in measured[what].items()}
        for what in ("milliseconds", "images_a_second")
    )
    lines = ["| | 1 image, ms | 64 images, images/s |", "|---|---:|---:|"]
    lines += [f"| {name} | {latency[name]:.2f} | {rates[name]:,.0f} |" for name in latency]
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
    lines = ["| | test accuracy | same class as Keras | MB |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {row['accuracy']:.2%} | {row['same_class']:.2%} | {row['megabytes']:.2f} |"
        for name, row in measured["formats"].items()
    ]
    how = f"`{measured['recipe']}`, seed {measured['seed']}, all test images of {measured['data']}."
    return "\n".join([*lines, "", how])


def put_between_markers(text: str, name: str, table: str) -> str:
    """`text` with `table` between the markers of `name`. Raises `UsageError` where it has none."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(f"the file needs one line {begin} and one {end}")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"


@dataclass(frozen=True)
class ReportOptions:
    """Write the tables of all measured results."""

    results: Path = Path("results")
    """The folder with the results.json files of runs."""
    augment_speed: Path = Path("benchmarks/augment.json")
    """What benchmarks/augment.py wrote."""
    serving_speed: Path = Path("benchmarks/serving.json")
    """What benchmarks/serving.py wrote."""
    formats: Path = Path("benchmarks/formats.json")
    """What benchmarks/formats.py wrote."""
    into: Path | None = None
    """A Markdown file with the markers (default: print the tables)."""


def all_tables(options: ReportOptions) -> dict[str, str]:
    """Every table of the README, by the name of its markers."""
    return {
        "results": results_table(options.results),
        "augment-speed": speed_table(options.augment_speed),
        "serving-speed": serving_table(options.serving_speed),
        "formats": formats_table(options.formats),
    }


def main() -> None:
    with exit_on_error("kerasresnet.report"):
        options = parse(ReportOptions, None, prog="python -m kerasresnet.report")
        tables = all_tables(options)
        if options.into is None:
            print("\n\n".join(tables.values()))
            return
        text = options.into.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = put_between_markers(text, name, table)
        write_text(options.into, text)


if __name__ == "__main__":
    main()
