"""A search on one page: leaderboard, the choices of all trials side by side, rungs and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from kerasresnet.report import markup
from kerasresnet.report.charts import Figure, axis, figure
from kerasresnet.report.markup import plain
from kerasresnet.report.sortable import sortable_table
from tuning.search.view.trials import Search, Trial

SCALE = [[0, "#3b6ea8"], [0.5, "#8fa98f"], [1, "#e2722e"]]  # low to high, seen on light and dark
NONE = "–"  # a choice that has no such dimension
AXIS = 5.5  # letters wide
FEW = 8  # different values: each has its own place on an axis


def search_page(
    search: Search,
    trials: Sequence[Trial],
    header: Mapping[str, str],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> str:
    """HTML of scored `trials`, best first; the other three are what leaderboard.md says."""
    limit = f"{search.settings['max_params']:,}"
    body = [
        Markup("<h1>A search under {} parameters</h1>").format(limit),
        markup.pairs((name, markup.unmarked(text)) for name, text in header.items()),
    ]
    if dimensions := varied(search, trials):
        words = (
            "A line is a trial, its colour the validation accuracy. Drag along an axis to keep the "
            "trials that cross it there, and drag its name to move it."
        )
        drawn = markup.chart(choices_chart(dimensions, trials), "choices")
        wide = Markup('<div class="scroll"><div style="min-width: {}rem">{}</div></div>')
        inside = wide.format(AXIS * (len(dimensions) + 2), drawn)
        body.append(markup.section("What was chosen", markup.paragraph(words), inside))
    body.append(markup.section("Rungs", markup.chart(rungs_chart(trials), "rungs")))
    costs = [markup.chart(costs_chart(trials, name), name) for name in ("parameters", "macs")]
    body.append(markup.section("What accuracy costs", markup.charts(*costs)))
    words = (
        "Most epochs first, then by score: that of an early rung is of a less trained network. A "
        "promoted trial has a row for each of its rungs. A click on the name of a column sorts by "
        "it, another turns that round."
    )
    table = sortable_table("leaderboard", head, rows)
    body.append(markup.section("Leaderboard", markup.paragraph(words, note=True), table))
    return markup.document(f"search {limit}", body, evaluates=True)


def varied(search: Search, trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """The dimensions in which trials differ, each with a value for every trial."""
    names = dict.fromkeys([*search.space, *(name for trial in trials for name in trial.values)])
    found = {name: [trial.values.get(name, NONE) for trial in trials] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def choices_chart(dimensions: Mapping[str, Sequence[Any]], trials: Sequence[Trial]) -> Figure:
    """Parallel coordinates: an axis for the accuracy, for the epochs and for each dimension."""
    scores = [100 * trial.score for trial in trials]
    axes = [{"label": "accuracy, %", "values": scores}]
    axes += [_coordinate("epochs", [trial.epochs for trial in trials])]
    axes += [_coordinate(name, values) for name, values in dimensions.items()]
    line = {"color": scores, "colorscale": SCALE, "showscale": True}
    line["colorbar"] = {"thickness": 10, "outlinewidth": 0}
    lines = {"type": "parcoords", "dimensions": axes, "line": line, "labelangle": -20}
    margin = {"l": 60, "r": 40, "t": 90, "b": 20}
    return figure([lines], height=460, margin=margin)


def _coordinate(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """An axis: of numbers where there are many of them, else a place for each value."""
    different = set(values)
    numbers = [value for value in different if isinstance(value, int | float)]
    if len(numbers) == len(different) > FEW:
        return {"label": plain(name), "values": list(values)}
    order = [*sorted(numbers), *sorted((v for v in different if v not in numbers), key=str)]
    every = -(-len(order) // (2 * FEW))
    return {
        "label": plain(name),
        "values": [order.index(value) for value in values],
        "tickvals": list(range(0, len(order), every)),
        "ticktext": [plain(_short(value)) for value in order[::every]],
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rungs_chart(trials: Sequence[Trial]) -> Figure:
    """A point for each trial at the epochs of its rung, a line from each to what it became."""
    by_id = {trial.trial_id: trial for trial in trials}
    colours = ("#3b6ea8", "#d9782d", "#4d9150", "#b5403a", "#8a6fb0", "#6c7480")
    data = []
    for number, bracket in enumerate(sorted({trial.bracket for trial in trials}, reverse=True)):
        x: list[float | None] = []
        y: list[float | None] = []
        told: list[str] = []
        for trial in (trial for trial in trials if trial.bracket == bracket):
            steps = [by_id[trial.parent]] if trial.parent in by_id else []
            for step in [*steps, trial]:
                x.append(step.epochs)
                y.append(100 * step.score)
                told.append(_told(step))
            x, y, told = [*x, None], [*y, None], [*told, ""]
        style = {"line": {"color": colours[number % len(colours)], "width": 1}}
        data.append(_points(x, y, told) | style | {"mode": "lines+markers"})
        data[-1]["name"] = f"bracket {bracket}"
    ticks = sorted({trial.epochs for trial in trials})
    below = axis("epochs of the rung", type="log", tickvals=ticks, showgrid=False)
    scores = axis("validation accuracy, %")
    return figure(data, hovermode="closest", showlegend=True, xaxis=below, yaxis=scores)


def costs_chart(trials: Sequence[Trial], name: str) -> Figure:
    """Parameters or MACs of each trial against its score, the epochs as colour."""
    x = [getattr(trial, name) / (1 if name == "parameters" else 1e6) for trial in trials]
    points = _points(x, [100 * trial.score for trial in trials], [_told(t) for t in trials])
    bar = {"thickness": 10, "outlinewidth": 0, "title": {"text": "epochs"}}
    epochs = [trial.epochs for trial in trials]
    points["marker"] = {"color": epochs, "colorscale": SCALE, "size": 8, "colorbar": bar}
    below = {"parameters": "parameters", "macs": "MACs an image, millions"}[name]
    scores = axis("validation accuracy, %")
    return figure([points], hovermode="closest", xaxis=axis(below), yaxis=scores)


def _points(x: Sequence[Any], y: Sequence[Any], told: Sequence[str]) -> dict[str, Any]:
    points = {"type": "scatter", "mode": "markers", "x": x, "y": y, "text": told}
    return points | {"hovertemplate": "%{text}<br>%{y:.2f} %<extra></extra>"}


def _told(trial: Trial) -> str:
    return f"trial {plain(trial.trial_id)}, {trial.epochs} epochs<br>{plain(str(trial.spec))}"
