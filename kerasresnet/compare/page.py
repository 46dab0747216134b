"""Runs side by side on one page: their curves, and a table to sort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from kerasresnet.report import markup
from kerasresnet.report.canvas import BLUE, GREEN, GREY, ORANGE, RED
from kerasresnet.report.charts import Figure, axis, figure
from kerasresnet.report.markup import plain
from kerasresnet.report.sortable import sortable_table

COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)
DASHES = ("solid", "dash", "dot")  # with each colour, before a look comes again
Columns = Mapping[str, Sequence[str]]  # name → the text of every run


def compare_page(
    names: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    settings: Columns,
    reached: Columns,
) -> str:
    """HTML of runs called `names`: the `settings` in which they differ, and what they `reached`."""
    columns = {"run": names, **settings, **reached}
    if "spec" in columns:  # on one line each
        columns["spec"] = [f"`{spec}`" for spec in columns["spec"]]
    rows = list(zip(*columns.values(), strict=True))
    charts = [
        markup.chart(curves_chart(names, results, metric), metric)
        for metric in ("accuracy", "loss")
    ]
    words = (
        "Settings are those in which the runs differ; in brackets, points against the first run. A "
        "click on the name of a column sorts by it, another turns that round."
    )
    body = [
        Markup("<h1>{} runs side by side</h1>").format(len(names)),
        markup.section("Curves", markup.charts(*charts)),
        markup.section(
            "What differs, and what came of it",
            markup.paragraph(words, note=True),
            sortable_table("runs", list(columns), rows),
        ),
    ]
    return markup.document(f"{len(names)} runs", body)


def curves_chart(names: Sequence[str], results: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Accuracy or loss of every run by epoch, of validation images where some were held out."""
    scale, form = (100, "%{y:.2f} %") if metric == "accuracy" else (1, "%{y:.4f}")
    lines = []
    for number, (name, each) in enumerate(zip(names, results, strict=True)):
        epochs = each["epochs"]
        held_out = bool(epochs) and f"val_{metric}" in epochs[0]
        turn, colour = divmod(number, len(COLOURS))
        line = {"color": COLOURS[colour], "dash": DASHES[turn % len(DASHES)], "width": 2}
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [row["epoch"] for row in epochs],
                "y": [scale * row[f"val_{metric}" if held_out else metric] for row in epochs],
                "name": plain(name) + ("" if held_out else ", training images"),
                "line": line,
                "marker": {"size": 4},
                "hovertemplate": form,
            }
        )
    side = axis("accuracy, %" if metric == "accuracy" else "loss")
    return figure(lines, height=380, showlegend=True, xaxis=axis("epoch"), yaxis=side)
