"""The report of a study, from its files alone: tables as Markdown, CSV and JSON, plot and page.

A row is one value of one factor; its spread is the standard deviation over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasresnet.disk import read_json, write_json, write_text
from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.report.canvas import new_figure, save, wrapped
from kerasresnet.report.tables import csv_text, markdown
from tuning.study.factors import Setting
from tuning.study.page import study_page
from tuning.study.runs import Study

TITLES = (
    "setting",
    "network",
    "parameters",
    "MACs",
    "seeds",
    "validation accuracy",
    "test accuracy",
    "minutes",
)


def write_report(study: Study) -> list[Path]:
    """Write table.md, .csv, .json, plot.png and report.html into the study; returns their paths.

    The same result files give the same tables. Raises `UsageError` where no run has finished.
    """
    results = {run.name: read_json(run.run.results_path) for run in study.runs() if run.finished}
    if not results:
        raise UsageError(f"no run of {study.path} has finished: there is nothing to report yet")
    tables = {
        factor: [_row(study, setting, results) for setting in settings]
        for factor, settings in _by_factor(study).items()
    }
    paths = [study.path / f"table.{kind}" for kind in ("md", "csv", "json")]
    plot = study.path / "plot.png"
    facts = _facts(study, list(results.values()))
    draw_plot(tables, plot, title=f"{facts['base']} on {facts['data']}")
    write_text(paths[0], _markdown(facts, tables, _failures(study)))
    write_text(paths[1], _csv(tables))
    write_json(paths[2], facts | {"factors": tables, "failed": _failures(study)})
    page = study.path / "report.html"
    cells = {factor: [_cells(row) for row in rows] for factor, rows in tables.items()}
    title = f"One factor at a time: {facts['base']} on {facts['data']}"
    write_text(page, study_page(title, _said(facts), tables, TITLES, cells, _failures(study)))
    return [*paths, plot, page]


def kept_val_accuracy(results: dict[str, Any]) -> float | None:
    """Validation accuracy of the weights that a run kept; None where nothing was held out."""
    scores = [row["val_accuracy"] for row in results["epochs"] if "val_accuracy" in row]
    if not scores:
        return None
    return max(scores) if results["recipe"]["keep"] == "best" else scores[-1]


def _by_factor(study: Study) -> dict[str, list[Setting]]:
    """The settings of each factor; the base is the first unless one of the values is its own."""
    base, *others = study.settings
    found: dict[str, list[Setting]] = {}
    for setting in others:
        found.setdefault(setting.factor, []).append(setting)
    return {
        factor: settings if any(s.is_base for s in settings) else [base, *settings]
        for factor, settings in found.items()
    }


def _row(study: Study, setting: Setting, results: dict[str, Any]) -> dict[str, Any]:
    """One row of a table: accuracies as shares of 1, the minutes of one training (median)."""
    mine = [r for run in study.runs() if (r := results.get(run.name)) and _of(run, setting)]
    val = [score for r in mine if (score := kept_val_accuracy(r)) is not None]
    test = [r["test"]["accuracy"] for r in mine]
    minutes = [r["train_seconds"] / 60 for r in mine]
    spec = setting.recipe.spec
    return {
        "setting": setting.label,
        "is_base": setting.is_base,
        "network": spec.to_text(),
        "parameters": count_parameters(spec),
        "macs": count_macs(spec),
        "seeds": [r["seed"] for r in mine],
        "val_accuracy": val,
        "val_mean": statistics.mean(val) if val else None,
        "val_std": statistics.stdev(val) if len(val) > 1 else None,
        "test_accuracy": test,
        "test_mean": statistics.mean(test) if test else None,
        "test_std": statistics.stdev(test) if len(test) > 1 else None,
        "minutes": round(statistics.median(minutes), 2) if minutes else None,
    }


def _of(run: Any, setting: Setting) -> bool:
    return run.recipe.name == setting.recipe.name


def _failures(study: Study) -> dict[str, str]:
    return {run.name: run.error for run in study.runs() if not run.finished and run.error}


def _facts(study: Study, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all rows share: how it was measured."""
    images = [f"{r['train']:,} / {r['val']:,} / {r['test']:,}" for r in _all(results, "images")]
    runs = study.runs()
    return {
        "base": study.base,
        "data": study.data,
        "images": images,
        "epochs": sorted({setting.recipe.epochs for setting in study.settings}),
        "keep": sorted({setting.recipe.keep for setting in study.settings}),
        "devices": _all(results, "device"),
        "precisions": _all(results, "precision"),
        "runs": len(runs),
        "finished": len(results),
        "recipe": study.settings[0].recipe.model_dump(mode="json")
        | {"spec": study.settings[0].recipe.spec.to_text()},
    }


def _all(results: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """The different values of an entry, in the order in which they come."""
    found: list[Any] = []
    for value in (r[name] for r in results):
        if value not in found:
            found.append(value)
    return found


def _markdown(
    facts: dict[str, Any], tables: dict[str, list[dict[str, Any]]], failed: dict[str, str]
) -> str:
    lines = [f"# One factor at a time: `{facts['base']}` on {facts['data']}", "", _said(facts)]
    for factor, rows in tables.items():
        lines += ["", f"## {factor}", ""]
        lines += markdown(TITLES, "llrrlrrr", map(_cells, rows))
    if failed:
        lines += ["", "Failed:", "", *(f"- `{name}`: {error}" for name, error in failed.items())]
    lines += ["", "![Accuracy of every setting](plot.png)"]
    return "\n".join(lines) + "\n"


def _said(facts: dict[str, Any]) -> str:
    """How it was measured."""
    kept = {"best": "the epoch best on validation", "last": "the last epoch"}
    return (
        f"Images to train / validate / test: {'; '.join(facts['images'])}. Epochs: "
        f"{_listed(facts['epochs'])}; weights of {_listed([kept[k] for k in facts['keep']])}; the "
        f"test set read once a run, at its end. {'; '.join(facts['devices'])}; "
        f"{_listed(facts['precisions'])}. {facts['finished']} of {facts['runs']} runs finished. "
        "± is the standard deviation over seeds; minutes are those of one training, the median."
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _cells(row: dict[str, Any]) -> list[str]:
    own = row["is_base"] and row["setting"] != "base"
    return [
        f"`{row['setting']}`" + (" (the base)" if own else ""),
        f"`{row['network']}`",
        f"{row['parameters']:,}",
        f"{row['macs'] / 1e6:.1f} M",
        _listed(row["seeds"]) or "none",
        _spread(row["val_mean"], row["val_std"]),
        _spread(row["test_mean"], row["test_std"]),
        "–" if row["minutes"] is None else f"{row['minutes']:.{1 if row['minutes'] >= 1 else 2}f}",
    ]


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "–"
    return f"{100 * mean:.2f} %" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _csv(tables: dict[str, list[dict[str, Any]]]) -> str:
    rows = [{"factor": factor, **row} for factor, rows in tables.items() for row in rows]
    for row in rows:
        row |= {k: " ".join(map(str, v)) for k, v in row.items() if isinstance(v, list)}
    return csv_text(rows[0], rows)


def draw_plot(tables: dict[str, list[dict[str, Any]]], path: Path, *, title: str) -> None:
    """One axis a factor: every seed's accuracy as a dot, mean and deviation beside, as a PNG."""
    sizes = [len(rows) + 1 for rows in tables.values()]
    figure = new_figure(9, 1 + 0.5 * sum(sizes))
    shape = {"squeeze": False, "sharex": True, "height_ratios": sizes}
    axes = figure.subplots(len(sizes), 1, **shape)[:, 0]
    for axis, (factor, rows) in zip(axes, tables.items(), strict=True):
        _draw_factor(axis, rows)
        axis.set_title(factor, loc="left", fontsize=10)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0.6, 1), ncols=2, frameon=False, fontsize=8)
    axes[-1].set_xlabel("accuracy, %")
    figure.suptitle(wrapped(title, 80))
    save(figure, path)


def _draw_factor(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    for offset, part, colour in ((-0.12, "val", "tab:blue"), (0.12, "test", "tab:orange")):
        for y, row in enumerate(rows):
            scores = [100 * score for score in row[f"{part}_accuracy"]]
            axis.plot(scores, [y + offset] * len(scores), "o", color=colour, alpha=0.4, ms=4)
        seen = [(y + offset, row) for y, row in enumerate(rows) if row[f"{part}_mean"] is not None]
        axis.errorbar(
            [100 * row[f"{part}_mean"] for _, row in seen],
            [y for y, _ in seen],
            xerr=[100 * (row[f"{part}_std"] or 0) for _, row in seen],
            fmt="d",
            color=colour,
            capsize=3,
            label={"val": "validation", "test": "test"}[part],
        )
    names = [row["setting"] + (" (base)" if row["is_base"] else "") for row in rows]
    axis.set_yticks(range(len(rows)), [_short(name) for name in names], fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)


def _short(name: str) -> str:
    name = "base" if name == "base (base)" else name
    return name if len(name) <= 44 else f"{name[:43]}…"
