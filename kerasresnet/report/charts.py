"""The charts of a run's page, as plotly figures: plain dictionaries of data and layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasresnet.evaluate.calibration import Reliability
from kerasresnet.report.canvas import BLUE, GREEN, GREY, ORANGE
from kerasresnet.report.confusion import NUMBERED
from kerasresnet.report.curves import FEW, Rows, kept_row, least_loss
from kerasresnet.report.markup import plain

Figure = dict[str, Any]
CLEAR, VEIL = "rgba(0,0,0,0)", "rgba(128,136,148,0.16)"
MISTAKE = "226,92,50"  # red, green, blue
_ON_TOP = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}
_ON_TOP |= {"thickness": 10, "len": 0.6, "outlinewidth": 0}


def figure(data: Sequence[Mapping[str, Any]], *, height: int = 340, **layout: Any) -> Figure:
    """Data and layout, on no ground of its own: page.css gives the colours."""
    common = {
        "height": height,
        "margin": {"l": 54, "r": 14, "t": 34, "b": 44},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "bgcolor": CLEAR},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#2a2f37", "font": {"color": "#ffffff"}},
    }
    return {"data": list(data), "layout": common | layout}


def axis(title: str, **settings: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 10},
        "zeroline": False,
        "automargin": True,
        **settings,
    }


def metric_chart(
    rows: Rows,
    metric: str,
    *,
    keep: str,
    test: Mapping[str, Any] | None = None,
    label_smoothing: float = 0.0,
    classes: int = 10,
) -> Figure:
    """Loss or accuracy of training and validation by epoch, the kept epoch and the test's value."""
    scale, form = (100, ".2f") if metric == "accuracy" else (1, ".4f")
    lines = [_line(rows, metric, scale, "training", BLUE, form)]
    if f"val_{metric}" in rows[0]:
        lines.append(_line(rows, f"val_{metric}", scale, "validation", ORANGE, form))
        kept = kept_row(rows, keep)
        ring = {"size": 13, "color": CLEAR, "line": {"color": ORANGE, "width": 2}}
        lines.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [kept["epoch"]],
                "y": [scale * kept[f"val_{metric}"]],
                "name": f"kept: epoch {int(kept['epoch'])}",
                "marker": ring,
                "hoverinfo": "skip",
            }
        )
    title = metric
    if metric == "accuracy":
        title = "accuracy, %"
        if test:
            lines += _tested(rows, test)
    elif label_smoothing:
        title = "loss, raised by label smoothing"
        floor = least_loss(label_smoothing, classes)
        lines.append(_across(rows, floor, f"least possible: {floor:.2f}", GREY, "dot"))
    return figure(lines, xaxis=_epochs(rows), yaxis=axis(title))


def _line(rows: Rows, name: str, scale: float, said: str, colour: str, form: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(rows) <= FEW else "lines",
        "x": [row["epoch"] for row in rows],
        "y": [scale * row[name] for row in rows],
        "name": said,
        "line": {"color": colour, "width": 2},
        "marker": {"size": 5},
        "hovertemplate": f"%{{y:{form}}}",
    }


def _tested(rows: Rows, test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The test accuracy, and with mirror images where it was measured, across all epochs."""
    plain_one = 100 * test["accuracy"]
    lines = [_across(rows, plain_one, f"test: {plain_one:.2f} %", GREEN, "solid")]
    if test.get("tta"):
        mirrored = 100 * test["tta"]["flip"]["accuracy"]
        says = f"with mirror images: {mirrored:.2f} %"
        lines.append(_across(rows, mirrored, says, GREEN, "dash"))
    return lines


def _across(rows: Rows, value: float, said: str, colour: str, dash: str) -> dict[str, Any]:
    """A line across all epochs."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5],
        "y": [value, value],
        "name": said,
        "line": {"color": colour, "width": 1.5, "dash": dash},
        "hoverinfo": "skip",
    }


def _epochs(rows: Rows) -> dict[str, Any]:
    settings = {"dtick": 1} if len(rows) <= 12 else {"nticks": 12}
    settings["range"] = [rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5]
    return axis("epoch", tickformat="d", hoverformat="d", showgrid=False, **settings)


def rates_chart(rows: Rows) -> Figure:
    """Learning rate at the end of each epoch, and the momentum where the run recorded it."""
    lines = [_line(rows, "learning_rate", 1, "learning rate", GREY, ".4g")]
    lines[0] |= {"fill": "tozeroy", "fillcolor": VEIL}
    layout = {"xaxis": _epochs(rows), "yaxis": axis("learning rate", rangemode="tozero")}
    if all("momentum" in row for row in rows):
        lines.append(_line(rows, "momentum", 1, "momentum", ORANGE, ".4g") | {"yaxis": "y2"})
        second = {"overlaying": "y", "side": "right", "showgrid": False}
        layout["yaxis2"] = axis("momentum", **second)
    return figure(lines, height=220, showlegend=len(lines) > 1, **layout)


def confusion_chart(matrix: Sequence[Sequence[int]], class_names: Sequence[str]) -> Figure:
    """Counts of predicted (columns) for true classes (rows); colours are those of the mistakes."""
    counts = np.asarray(matrix)
    share = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    right = np.eye(len(counts), dtype=bool)
    names = [plain(name) for name in class_names]
    words = [[f"{n:,}" if n else "" for n in row] for row in counts.tolist()]
    shared = {
        "type": "heatmap",
        "x": list(range(len(names))),
        "y": list(range(len(names))),
        "text": words,
        "texttemplate": "%{text}" if len(names) <= NUMBERED else "",
        "xgap": 1,
        "ygap": 1,
        "customdata": [
            [[names[i], names[j], f"{counts[i, j]:,}"] for j in range(len(names))]
            for i in range(len(names))
        ],
        "hovertemplate": "%{customdata[0]} taken for %{customdata[1]}: %{customdata[2]}"
        "<br>%{z:.2f} % of its class<extra></extra>",
    }
    mistakes = shared | {
        "z": _masked(share, right),
        "colorscale": [[0, f"rgba({MISTAKE},0)"], [1, f"rgba({MISTAKE},0.85)"]],
        "zmin": 0,
        "zmax": max(0.1, float(np.where(right, 0, share).max())),
        "colorbar": {"title": {"text": "mistakes, % of the true class", "side": "top"}} | _ON_TOP,
    }
    hits = shared | {
        "z": _masked(share, ~right),
        "colorscale": [[0, VEIL], [1, VEIL]],
        "showscale": False,
        "hovertemplate": "%{customdata[0]}: %{customdata[2]} right"
        "<br>%{z:.2f} % of its class<extra></extra>",
    }
    every = -(-len(names) // 40)
    ticks = list(range(0, len(names), every))
    named = {"tickvals": ticks, "ticktext": [names[i] for i in ticks], "showgrid": False}
    side = axis("true class", autorange="reversed", **named)
    below = axis("predicted", tickangle=-45, **named)
    height = 520 if len(names) <= NUMBERED else 760
    margin = {"l": 10, "r": 10, "t": 6, "b": 10}  # and what scale and names need
    layout = {"hovermode": "closest", "margin": margin, "xaxis": below, "yaxis": side}
    return figure([hits, mistakes], height=height, **layout)


def _masked(values: np.ndarray, hidden: np.ndarray) -> list[list[float | None]]:
    """`values` as lists, None where `hidden`."""
    rows = zip(values.tolist(), hidden.tolist(), strict=True)
    return [[None if h else v for v, h in zip(*row, strict=True)] for row in rows]


def reliability_chart(bins: Reliability) -> Figure:
    """Accuracy against confidence, bin by bin, beside the diagonal; the counts under it."""
    width = float(bins.edges[1] - bins.edges[0])
    there = bins.counts > 0
    middle = ((bins.edges[:-1] + bins.edges[1:]) / 2)[there].tolist()
    told = [
        [f"{low:.0%} to {high:.0%}", f"{n:,}", f"{mean:.1%}"]
        for low, high, n, mean in zip(
            bins.edges[:-1], bins.edges[1:], bins.counts, bins.confidence, strict=True
        )
        if n
    ]
    bar = {"type": "bar", "x": middle, "width": width, "customdata": told}
    says = "confidence %{customdata[0]}, mean %{customdata[2]}<br>%{customdata[1]} images"
    edge = {"line": {"color": BLUE, "width": 1}, "color": "rgba(59,110,168,0.55)"}
    right = bar | {"y": bins.accuracy[there].tolist(), "name": "accuracy", "marker": edge}
    right["hovertemplate"] = f"{says}<br>%{{y:.1%}} right<extra></extra>"
    many = bar | {"y": bins.counts[there].tolist(), "yaxis": "y2", "marker": {"color": GREY}}
    many |= {"hovertemplate": f"{says}<extra></extra>", "showlegend": False}
    diagonal = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1]}
    diagonal |= {"name": "perfectly calibrated", "hoverinfo": "skip"}
    shown = {"tickformat": ".0%"}
    diagonal["line"] = {"color": ORANGE, "dash": "dash", "width": 2}
    return figure(
        [right, diagonal, many],
        height=400,
        hovermode="closest",
        xaxis=axis("confidence", range=[0, 1], dtick=0.2, **shown, anchor="y2", showgrid=False),
        yaxis=axis("accuracy", range=[0, 1.02], **shown, domain=[0.3, 1]),
        yaxis2=axis("images", domain=[0, 0.2], nticks=3),
    )
