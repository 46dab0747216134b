"""A study on one page: a chart and a table for each factor, with every seed to hover over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from kerasresnet.report import markup
from kerasresnet.report.canvas import BLUE, ORANGE
from kerasresnet.report.charts import Figure, axis, figure
from kerasresnet.report.markup import plain
from kerasresnet.report.sortable import sortable_table

Rows = Sequence[Mapping[str, Any]]  # of one factor, as table.json has them
ROW = 46  # pixels


def study_page(
    title: str,
    said: str,
    factors: Mapping[str, Rows],
    head: Sequence[str],
    cells: Mapping[str, Sequence[Sequence[str]]],
    failed: Mapping[str, str],
) -> str:
    """HTML of all factors; `said`, `head` and `cells` are the words of table.md."""
    words = f"{said} A click on the name of a column sorts by it, another turns that round."
    body = [Markup("<h1>{}</h1>").format(title), markup.paragraph(words)]
    within = _range([row for rows in factors.values() for row in rows])
    for number, (factor, rows) in enumerate(factors.items()):
        drawn = markup.chart(factor_chart(rows, within), f"factor{number}")
        table = sortable_table(f"table{number}", head, cells[factor])
        body.append(markup.section(factor, drawn, table))
    if failed:
        body.append(markup.section("Failed", markup.pairs(failed.items())))
    return markup.document(title, body)


def _range(rows: Rows) -> list[float]:
    """From below the lowest accuracy of any factor to above the highest, in %."""
    parts = ("val_accuracy", "test_accuracy")
    scores = [100 * score for row in rows for part in parts for score in row[part]]
    margin = 0.5 + 0.05 * (max(scores) - min(scores))
    return [min(scores) - margin, max(scores) + margin]


def factor_chart(rows: Rows, within: Sequence[float] | None = None) -> Figure:
    """Accuracy of every seed, and mean and standard deviation of each setting; `within` is the
    range of the axis, in %."""
    names = [plain(row["setting"]) for row in rows]
    data = []
    parts = (("val", "validation", BLUE, -0.14), ("test", "test", ORANGE, 0.14))
    for part, name, colour, offset in parts:
        x, y, told = [], [], []
        for place, row in enumerate(rows):
            for score, seed in zip(row[f"{part}_accuracy"], row["seeds"], strict=False):
                x.append(100 * score)
                y.append(place + offset)
                told.append(f"{names[place]}, seed {seed}")
        points = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": told}
        points |= {"marker": {"color": colour, "size": 7, "opacity": 0.55}, "showlegend": False}
        points["hovertemplate"] = f"%{{text}}: {name} %{{x:.2f}} %<extra></extra>"
        data += [points, _means(rows, part, name, colour, offset)]
    side = axis("", tickvals=list(range(len(rows))), ticktext=names, showgrid=False)
    side |= {"range": [len(rows) - 0.5, -0.5]}
    below = axis("accuracy, %", **({"range": list(within)} if within else {}))
    height = 130 + ROW * len(rows)
    return figure(data, height=height, hovermode="closest", xaxis=below, yaxis=side)


def _means(rows: Rows, part: str, name: str, colour: str, offset: float) -> dict[str, Any]:
    """Mean and deviation of each setting that has one."""
    there = [(i, row) for i, row in enumerate(rows) if row[f"{part}_mean"] is not None]
    spread = [100 * (row[f"{part}_std"] or 0) for _, row in there]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * row[f"{part}_mean"] for _, row in there],
        "y": [i + offset for i, _ in there],
        "name": f"{name}, mean ± deviation",
        "marker": {"color": colour, "size": 11, "symbol": "diamond"},
        "error_x": {"type": "data", "array": spread, "color": colour},
        "hovertemplate": f"{name} %{{x:.2f}} %<extra></extra>",
    }
