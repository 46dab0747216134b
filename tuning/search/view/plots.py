"""Pictures of a search: scores along the rungs, what each dimension changes, what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasresnet.report.canvas import new_figure, save, wrapped
from tuning.search.view.progress import epochs
from tuning.search.view.trials import Search, Trial

COLUMNS = 4  # panels side by side


def draw_plots(search: Search, trials: Sequence[Trial], out: Path) -> dict[str, Path]:
    """Draw scored `trials`, best first, into the folder `out`: caption → PNG, in order.

    The picture of the dimensions is left out where no two trials can be compared.
    """
    drawn = {
        "Score against the epochs of the rung": ("rungs.png", _rungs(trials)),
        "Parameters and MACs against score": ("costs.png", _costs(trials, search.settings)),
        "Each dimension against what it changes": ("dimensions.png", _dimensions(search, trials)),
    }
    found = {}
    where = f"{Path(search.settings['data']).name}, {search.settings['max_params']:,} parameters"
    for caption, (name, figure) in drawn.items():
        if figure is None:
            (out / name).unlink(missing_ok=True)  # of an earlier report
            continue
        figure.suptitle(wrapped(f"{caption}: {where}", 80))
        found[caption] = save(figure, out / name)
    return found


def _rungs(trials: Sequence[Trial]):
    """A point for each trial at the epochs of its rung, a line from each to what it became."""
    figure = new_figure(9, 5)
    axis = figure.subplots()
    by_id = {trial.trial_id: trial for trial in trials}
    brackets = sorted({trial.bracket for trial in trials}, reverse=True)
    for trial in trials:
        colour = f"C{brackets.index(trial.bracket)}"
        axis.plot(trial.epochs, 100 * trial.score, "o", color=colour, markersize=5)
        if parent := by_id.get(trial.parent):
            axis.plot(
                [parent.epochs, trial.epochs],
                [100 * parent.score, 100 * trial.score],
                color=colour,
                alpha=0.6,
            )
    for number, bracket in enumerate(brackets if len(brackets) > 1 else ()):
        axis.plot([], [], "o-", color=f"C{number}", label=f"bracket {bracket}")
    _ring(axis, trials[0].epochs, trials[0], f"best: trial {trials[0].trial_id}")
    axis.set_xscale("log")
    ticks = sorted({trial.epochs for trial in trials})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("epochs of the rung")
    axis.set_ylabel("validation accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _costs(trials: Sequence[Trial], settings: Mapping[str, Any]):
    """Parameters and MACs of each trial against its score, a colour for each number of epochs."""
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2, sharey=True)
    for number, reached in enumerate(sorted({trial.epochs for trial in trials})):
        same = [trial for trial in trials if trial.epochs == reached]
        scores = [100 * trial.score for trial in same]
        style = {"color": f"C{number}", "label": f"after {epochs(reached)}", "alpha": 0.8}
        left.plot([trial.parameters for trial in same], scores, "o", **style)
        right.plot([trial.macs / 1e6 for trial in same], scores, "o", **style)
    left.axvline(settings["max_params"], color="grey", linestyle="--", label="limit")
    if settings.get("max_macs"):
        right.axvline(settings["max_macs"] / 1e6, color="grey", linestyle="--")
    _ring(left, trials[0].parameters, trials[0], f"best: trial {trials[0].trial_id}")
    _ring(right, trials[0].macs / 1e6, trials[0])
    left.set_xlabel("parameters")
    left.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    left.locator_params(axis="x", nbins=5)
    right.set_xlabel("MACs an image, millions")
    left.set_ylabel("validation accuracy, %")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(fontsize="small")
    return figure


def _ring(axis: Any, x: float, trial: Trial, label: str | None = None) -> None:
    style = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": "black"}
    axis.plot(x, 100 * trial.score, "o", linestyle="", label=label, **style)


def residuals(trials: Sequence[Trial]) -> dict[str, float]:
    """Trial id → its score less the mean of its rung, in points; for rungs of two or more.

    Only trials of one rung of one bracket had the same epochs and the same selection before them.
    """
    groups: dict[tuple[int, int], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.bracket, trial.rung), []).append(trial)
    found = {}
    for group in groups.values():
        mean = statistics.mean(trial.score for trial in group)
        if len(group) > 1:
            found |= {trial.trial_id: 100 * (trial.score - mean) for trial in group}
    return found


def _dimensions(search: Search, trials: Sequence[Trial]):
    """A panel for each dimension in which comparable trials differ."""
    effects = residuals(trials)
    points: dict[str, list[tuple[Any, float]]] = {name: [] for name in search.space}
    for trial in sorted(trials, key=lambda trial: trial.trial_id):
        for name, value in trial.values.items() if trial.trial_id in effects else ():
            points.setdefault(name, []).append((value, effects[trial.trial_id]))
    varied = {name: found for name, found in points.items() if len({v for v, _ in found}) > 1}
    if not varied:
        return None
    rows = -(-len(varied) // COLUMNS)
    figure = new_figure(3.4 * COLUMNS, 2.6 * rows)
    axes = list(figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flat)
    for axis, (name, found) in zip(axes, varied.items(), strict=False):
        if isinstance(search.space.get(name), str):  # "0.05..0.2": any number between
            axis.plot([value for value, _ in found], [y for _, y in found], "o", alpha=0.6)
            _log_ticks(axis)
        else:
            _strips(axis, found, search.space.get(name, ()))
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set_title(name, fontsize="medium")
    for axis in axes[len(varied) :]:
        axis.set_visible(False)
    figure.supylabel("validation accuracy against the mean of its rung, points")
    return figure


def _log_ticks(axis: Any) -> None:
    """A logarithmic scale with plain numbers at 1, 2 and 5, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", rotation=30)


def _strips(axis: Any, found: Sequence[tuple[Any, float]], order: Sequence[Any]) -> None:
    """The points of each value side by side, and a bar at the mean of several."""
    there = {value for value, _ in found}
    values = [value for value in order if value in there]
    values += sorted(there - set(values), key=str)
    for x, value in enumerate(values):
        ys = [y for v, y in found if v == value]
        # Spread by their number, not by chance: the same search gives the same picture.
        spread = [x + 0.3 * ((i + 0.5) / len(ys) - 0.5) for i in range(len(ys))]
        axis.plot(spread, ys, "o", color="C0", alpha=0.6)
        if len(ys) > 1:
            axis.hlines(statistics.mean(ys), x - 0.3, x + 0.3, color="black")
    axis.set_xticks(range(len(values)), [f"{value}\n{_count(found, value)}" for value in values])
    axis.set_xlim(-0.6, len(values) - 0.4)


def _count(found: Sequence[tuple[Any, float]], value: Any) -> str:
    return f"n={sum(v == value for v, _ in found)}"
