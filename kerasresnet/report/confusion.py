"""What a network takes for what, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasresnet.report.canvas import INK, new_figure, save, wrapped

NUMBERED = 20  # classes: with more, the counts would be too small to read


def draw_confusion(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path, *, title: str
) -> Path:
    """Counts of predicted (columns) for true classes (rows), as a picture at `path`.

    Colours are those of the mistakes alone, up to the most common one: the diagonal, which holds
    nearly everything, is left out of the scale and stands in grey.
    """
    class_names = [name.replace("$", r"\$") for name in class_names]  # else the start of a formula
    counts = np.asarray(matrix)
    of_class = np.maximum(1, counts.sum(axis=1, keepdims=True))
    right = np.eye(len(class_names), dtype=bool)
    wrong = np.ma.masked_array(100 * counts / of_class, mask=right)
    side = min(12.0, 3.4 + 0.55 * len(class_names))
    figure = new_figure(side, side - 0.9)
    axis = figure.subplots()
    image = axis.imshow(wrong, cmap=_colours(), vmin=0, vmax=max(0.1, wrong.max() or 0))
    figure.colorbar(image, label="mistakes, % of the true class", shrink=0.75, pad=0.02)
    if len(class_names) <= NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            dark = row != column and wrong[row, column] > 0.6 * wrong.max()
            style = {"weight": "bold" if row == column else "normal", "fontsize": 8}
            text, colour = f"{count:,}" if count else "", "white" if dark else INK
            axis.text(column, row, text, ha="center", va="center", color=colour, **style)
    _name_classes(axis, counts, of_class, class_names)
    share = np.trace(counts) / max(1, counts.sum())
    says = f"{100 * share:.2f} % of {counts.sum():,} test images right"
    axis.set_title(f"{wrapped(title, int(6 * side))}\n{says}", fontsize=12)
    return save(figure, path)


def _colours():
    from matplotlib import colormaps

    return colormaps["OrRd"].with_extremes(bad="#e4e6ea")


def _name_classes(
    axis, counts: np.ndarray, of_class: np.ndarray, class_names: Sequence[str]
) -> None:
    """The classes at both axes, on the left with the share of each that was right."""
    every = -(-len(class_names) // 50)
    ticks = range(0, len(class_names), every)
    size = 9 if len(class_names) <= NUMBERED else 6
    shares = np.diag(counts) / of_class[:, 0]
    rows = [f"{class_names[i]}  {100 * shares[i]:.1f} %" for i in ticks]
    axis.set_xticks(ticks, [class_names[i] for i in ticks], rotation=45, ha="right", fontsize=size)
    axis.set_yticks(ticks, rows, fontsize=size)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true class, and how much of it was right")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
