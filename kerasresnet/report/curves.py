"""How a run went, as a picture: loss, accuracy, learning rate and momentum against the epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasresnet.report.canvas import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    new_figure,
    save,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]  # one for each epoch, as in metrics.json

FEW = 60  # epochs: so many points are marked


def draw_curves(
    rows: Rows,
    path: Path,
    *,
    title: str,
    keep: str = "best",
    test: Mapping[str, Any] | None = None,
    label_smoothing: float = 0.0,
    classes: int = 10,
) -> Path:
    """Loss, accuracy and learning rate of training and validation, as a picture at `path`.

    `keep` says whether the run keeps its best epoch or its last, `test` holds the test metrics of
    what it keeps. `label_smoothing` over `classes` raises every loss but the test's: the least
    possible is drawn.
    """
    figure = new_figure(10.5, 5.4)
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1.15))
    loss, accuracy = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    rate = figure.add_subplot(grid[1, :])
    kept = kept_row(rows, keep)
    for axis, metric, scale in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        _draw_metric(axis, rows, metric, scale, kept)
    if label_smoothing:
        floor = least_loss(label_smoothing, classes)
        words = f"least possible with label smoothing {label_smoothing:g}: {floor:.2f}"
        loss.axhline(floor, color=FAINT, linestyle=":", linewidth=1.2, label=words)
        loss.set_ylim(bottom=min(loss.get_ylim()[0], floor - 0.05))
    loss.set_ylabel("loss" + (", raised by label smoothing" if label_smoothing else ""))
    accuracy.set_ylabel("accuracy, %")
    if test:
        _draw_test(accuracy, test)
    for axis in (loss, accuracy):
        axis.legend(fontsize=8.5, frameon=True, framealpha=0.9, edgecolor="none")
    _draw_rate(rate, rows, kept)
    figure.suptitle(wrapped(title, 80), fontsize=13, weight="bold", color=INK)
    return save(figure, path)


def kept_row(rows: Rows, keep: str) -> Mapping[str, float]:
    """The epoch whose weights a run keeps: the first of the best on validation, or the last."""
    if keep == "best" and "val_accuracy" in rows[0]:
        return max(rows, key=lambda row: row["val_accuracy"])
    return rows[-1]


def least_loss(label_smoothing: float, classes: int) -> float:
    """The cross-entropy of a network that puts out the smoothed targets themselves."""
    wrong = label_smoothing / classes
    right = 1 - label_smoothing + wrong
    return -right * math.log(right) - (classes - 1) * wrong * math.log(wrong)


def _draw_metric(
    axis: Axes, rows: Rows, metric: str, scale: float, kept: Mapping[str, float]
) -> None:
    epochs = [row["epoch"] for row in rows]
    marker = {"marker": "o" if len(rows) <= FEW else None, "markersize": 3}
    values = [scale * row[metric] for row in rows]
    axis.plot(epochs, values, label="training", color=BLUE, **marker)
    if f"val_{metric}" in rows[0]:
        values = [scale * row[f"val_{metric}"] for row in rows]
        axis.plot(epochs, values, label="validation", color=ORANGE, **marker)
        _ring(axis, kept, rows, metric, scale)
    axis.axvline(kept["epoch"], color=FAINT, linewidth=1, alpha=0.5, zorder=0)
    _number_epochs(axis, epochs)
    axis.set_xlabel("epoch")


def _ring(axis: Axes, kept: Mapping[str, float], rows: Rows, metric: str, scale: float) -> None:
    """A ring round the epoch that the run keeps, with its value in the legend."""
    value, epoch = scale * kept[f"val_{metric}"], int(kept["epoch"])
    best = max(row["val_accuracy"] for row in rows)
    which = "best" if kept["val_accuracy"] == best else "kept"
    shown = f"{value:.2f} %" if metric == "accuracy" else f"{value:.3f}"
    style = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.6}
    label = f"{which} epoch {epoch}: {shown}"
    axis.plot(epoch, value, "o", color=ORANGE, linestyle="none", label=label, **style)


def _draw_test(axis: Axes, test: Mapping[str, Any]) -> None:
    """The test accuracy, and with mirror images where it was measured, as lines across."""
    accuracy = 100 * test["accuracy"]
    images = f", {test['images']:,} images" if "images" in test else ""
    axis.axhline(accuracy, color=GREEN, linewidth=1.3, label=f"test: {accuracy:.2f} %{images}")
    if "tta" in test:
        mirrored = 100 * test["tta"]["flip"]["accuracy"]
        words = f"test with mirror images: {mirrored:.2f} %"
        axis.axhline(mirrored, color=GREEN, linewidth=1.1, linestyle="--", label=words)


def _draw_rate(axis: Axes, rows: Rows, kept: Mapping[str, float]) -> None:
    epochs = [row["epoch"] for row in rows]
    rates = [row["learning_rate"] for row in rows]
    axis.plot(epochs, rates, color=GREY, marker="o" if len(rows) <= FEW else None, markersize=3)
    axis.fill_between(epochs, rates, color=GREY, alpha=0.12, linewidth=0)
    axis.axvline(kept["epoch"], color=FAINT, linewidth=1, alpha=0.5, zorder=0)
    axis.set_ylim(bottom=0)
    _number_epochs(axis, epochs)
    axis.set(xlabel="epoch", ylabel="learning rate\nat its end")
    if all("momentum" in row for row in rows):
        second = axis.twinx()
        second.plot(epochs, [row["momentum"] for row in rows], color=ORANGE, linewidth=1.2)
        second.set_ylabel("momentum", color=ORANGE)
        second.spines[["top"]].set_visible(False)


def _number_epochs(axis: Axes, epochs: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=12))
    margin = 0.5 if len(epochs) <= FEW else 0.01 * len(epochs)
    axis.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
