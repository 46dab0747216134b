"""Pictures of what was measured: curves and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


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
    labels = [label.replace("$", r"\$") for label in labels]  # else the start of a formula
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
