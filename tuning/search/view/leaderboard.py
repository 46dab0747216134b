"""The report of a search, written from its files alone: leaderboard, pictures, the best recipe.

    python -m tuning.search --report searches/cifar10-5000000

Scores are of the validation images that chose the winner, so its own flatters it a little.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from kerasresnet.command import duration
from kerasresnet.data import DataRequest
from kerasresnet.disk import made, write_json, write_text
from kerasresnet.errors import UsageError
from kerasresnet.report.tables import csv_text, markdown
from tuning.search.project import Project
from tuning.search.view.page import search_page
from tuning.search.view.plots import draw_plots
from tuning.search.view.progress import epochs, percent, progress_of
from tuning.search.view.times import described_times, epoch_seconds, too_slow
from tuning.search.view.trials import Search, SearchReader, Trial, best_trial, rank_key

# Recipe fields that every leaderboard shows; others where trials differ in them.
SHOWN = ("optimizer", "learning_rate", "weight_decay")
_ITS_OWN = ("name", "spec")


def write_report(folder: str | Path, out: Path | None = None) -> list[Path]:
    """Write the report of the search in `folder` to `out` (default: `report/` in it).

    leaderboard.md, .csv and .json, pictures, all of it on one page (report.html), and best.toml,
    which `python -m kerasresnet.fit --recipe` takes. The same search gives the same files. Returns
    their paths. Raises `UsageError` where `folder` is no search or no trial of it has finished.
    """
    project = Project.open(folder)
    _ = project.settings  # damaged ones are told here
    search = SearchReader(project.path).read()
    trials = sorted((trial for trial in search.trials if trial.scored), key=rank_key)
    if not trials:
        raise UsageError(_nothing_yet(search))
    for trial in trials:
        if not trial.spec or not trial.facts or len(trial.rows) < trial.epochs:
            raise UsageError(
                f"{trial.path} has lost its run, or some of it; the tuning.search command that "
                "started the search trains it again"
            )
    out = made(search.folder / "report" if out is None else Path(out), "report")
    pictures = draw_plots(search, trials, out)
    rows = [_row(rank, trial, search) for rank, trial in enumerate(trials, start=1)]
    texts = {
        "leaderboard.md": _markdown(search, trials, pictures),
        "leaderboard.csv": _csv(search, trials, rows),
        "best.toml": _best_recipe(search, trials),
        "report.html": _page(search, trials),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    write_json(
        out / "leaderboard.json",
        {
            "settings": dict(search.settings),
            "space": dict(search.space),
            **_circumstances(trials),
            "trials": [
                {
                    **row,
                    "hyperparameters": dict(trial.values),
                    "val_accuracy": [r["val_accuracy"] for r in trial.rows[: trial.epochs]],
                }
                for row, trial in zip(rows, trials, strict=True)
            ],
            "too_slow": too_slow(search),
            "failed": {t.trial_id: t.error for t in search.trials if t.failed},
        },
    )
    return [*(out / name for name in texts), out / "leaderboard.json", *pictures.values()]


def _nothing_yet(search: Search) -> str:
    failed = [trial for trial in search.trials if trial.failed]
    if failed and len(failed) == len(search.trials):
        return (
            f"every trial of {search.folder} failed ({len(failed)}), the last one with: "
            f"{failed[-1].error}; there is nothing to report"
        )
    return (
        f"no trial of {search.folder} has finished yet ({len(search.trials)} begun); go on with "
        "the tuning.search command that started it, then ask again"
    )


def _row(rank: int, trial: Trial, search: Search) -> dict[str, Any]:
    """One trial as plain values: score 0 … 1, seconds for all its epochs, parents' included."""
    return {
        "rank": rank,
        "trial": trial.trial_id,
        "score": trial.score,
        "epochs": trial.epochs,
        "spec": trial.spec,
        "parameters": trial.parameters,
        "share_of_limit": round(trial.parameters / search.settings["max_params"], 4),
        "macs": trial.macs,
        "optimizer": trial.recipe.optimizer,
        "seconds": round(_seconds(trial), 1),
        "timed_epoch_seconds": epoch_seconds(search).get(trial.spec),
        "iteration": trial.iteration,
        "bracket": trial.bracket,
        "rung": trial.rung,
        "promoted_from": trial.parent,
        "seed": trial.facts.get("seed"),
    }


def _seconds(trial: Trial) -> float:
    return sum(row["seconds"] for row in trial.rows[: trial.epochs])


def _csv(search: Search, trials: Sequence[Trial], rows: Sequence[dict[str, Any]]) -> str:
    """The rows, then a column for each dimension of the space, empty where a choice has none."""
    dimensions = dict.fromkeys([*search.space, *(name for t in trials for name in t.values)])
    columns = dict.fromkeys([*rows[0], *dimensions])
    return csv_text(columns, ({**t.values, **row} for row, t in zip(rows, trials, strict=True)))


def _markdown(search: Search, trials: Sequence[Trial], pictures: dict[str, Path]) -> str:
    asked = search.settings
    lines = [f"# A search under {asked['max_params']:,} parameters", ""]
    lines += markdown(["", ""], "ll", _header(search, trials).items())
    lines += [
        "",
        "Most epochs first, then by score: that of an early rung is of a less trained network. A "
        "promoted trial has a row for each of its rungs; seconds are those of all its epochs.",
        "",
        *markdown(*_leaderboard(search, trials)),
        "",
    ]
    for caption, path in pictures.items():
        lines += [f"![{caption}]({path.name})", ""]
    lines += ["## The space", ""]
    space = [[f"`{name}`", _values_text(values)] for name, values in search.space.items()]
    lines += markdown(["dimension", "values"], "ll", space)
    lines += ["", "The best trial's recipe, as `python -m kerasresnet.fit` takes it, is best.toml."]
    return "\n".join(lines) + "\n"


def _header(search: Search, trials: Sequence[Trial]) -> dict[str, str]:
    asked, best, now = search.settings, trials[0], progress_of(search)
    how = _circumstances(trials)
    kind = f"{asked['tuner']}, seed {asked['seed']}, up to {epochs(asked['max_epochs'])}"
    if asked["tuner"] == "hyperband":
        kind += f", factor {asked['factor']}, {len(search.plan.brackets)} brackets"
    failed = sum(trial.failed for trial in search.trials)
    limits = f"{asked['max_params']:,} parameters"
    if asked.get("max_macs"):
        limits += f", {asked['max_macs']:,} MACs"
    if asked.get("max_epoch_seconds"):
        limits += f", {asked['max_epoch_seconds']:g} s of training an epoch"
    rows = {
        "best": f"**{percent(best.score)}** ± {_standard_error(best):.2f} (standard error) after "
        f"{epochs(best.epochs)}: `{best.spec}`, trial {best.trial_id}",
        "search": kind,
        "trials": f"{now.trials_done} of {now.trials_planned} done, {failed} failed; "
        f"{now.epochs_done} of {now.epochs_planned} epochs",
        "limits": limits,
        "data": f"{asked['data']}: {_images(best)}; the test set was not touched",
        "base recipe": str(asked["base"]),
        "device": ", ".join(how["devices"]),
        "training": f"{duration(now.seconds)}, summed over all trials",
    }
    if times := described_times(search):
        rows["limit of time"] = times
    if how["started"] and how["finished"]:
        spent = datetime.fromisoformat(how["finished"]) - datetime.fromisoformat(how["started"])
        rows["wall time"] = (
            f"{duration(spent.total_seconds())} from the first start to the last end"
        )
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in how["versions"].items())
    return rows


def _circumstances(trials: Sequence[Trial]) -> dict[str, Any]:
    """Where and when the trials ran, from their run.json; several of a kind are joined."""
    facts = [trial.facts for trial in trials]
    versions: dict[str, set[str]] = {}
    for found in facts:
        for name, version in found.get("versions", {}).items():
            versions.setdefault(name, set()).add(version)
    ends = [found.get("finished") for found in facts]
    starts = [found["started"] for found in facts if "started" in found]
    return {
        "devices": sorted({f"{f.get('device')}, {f.get('precision')}" for f in facts}),
        "versions": {name: " / ".join(sorted(found)) for name, found in sorted(versions.items())},
        "started": min(starts, key=datetime.fromisoformat, default=None),
        "finished": max(ends, key=datetime.fromisoformat) if all(ends) else None,
    }


def _images(trial: Trial) -> str:
    images = trial.facts["images"]
    return f"{images['train']:,} images to train on, {images['val']:,} others to score on"


def _standard_error(trial: Trial) -> float:
    """Of a score, in points: what so many images alone make it vary by."""
    return 100 * math.sqrt(trial.score * (1 - trial.score) / trial.facts["images"]["val"])


def _page(search: Search, trials: Sequence[Trial]) -> str:
    head, _, rows = _leaderboard(search, trials)
    return search_page(search, trials, _header(search, trials), head, rows)


def _leaderboard(search: Search, trials: Sequence[Trial]) -> tuple[list[str], str, list[list[str]]]:
    """Its head, the alignment of its columns, its rows."""
    fields = [*SHOWN, *_differing(trials)]
    head = ["rank", "trial", "score", "epochs", "network", "parameters", "of the limit", "MACs"]
    timed = epoch_seconds(search)
    head += ["s an epoch, timed"] if timed else []
    alignment = "rlrrlrrr" + "r" * bool(timed) + "l" * len(fields) + "rl"
    rows = []
    for rank, trial in enumerate(trials, start=1):
        row = [str(rank), trial.trial_id, percent(trial.score), str(trial.epochs)]
        share = trial.parameters / search.settings["max_params"]
        row += [f"`{trial.spec}`", f"{trial.parameters:,}", f"{share:.1%}"]
        row += [f"{trial.macs / 1e6:.1f} M"]
        row += [f"{timed[trial.spec]:.3g}" if trial.spec in timed else ""] if timed else []
        row += [_values_text(getattr(trial.recipe, field)) for field in fields]
        rows.append([*row, f"{_seconds(trial):.0f}", trial.parent or ""])
    names = [field.replace("_", " ") for field in fields]
    return [*head, *names, "seconds", "from"], alignment, rows


def _differing(trials: Sequence[Trial]) -> list[str]:
    """Recipe fields that were searched: trials of one optimizer differ in them."""
    found = {}
    for trial in trials:
        for field, value in dict(trial.recipe).items():
            values = found.setdefault(field, {}).setdefault(trial.recipe.optimizer, set())
            values.add(str(value))
    known = (*SHOWN, *_ITS_OWN)
    return [f for f, by in found.items() if f not in known and max(map(len, by.values())) > 1]


def _values_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_values_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def fit_line(request: DataRequest, recipe: str | Path, data_dir: Path | None = None) -> str:
    """The command that trains `recipe` on the images of a search."""
    flags = request.flags() + (["--data-dir", str(data_dir)] if data_dir else [])
    return shlex.join(["python", "-m", "kerasresnet.fit", "--recipe", str(recipe), *flags])


def _best_recipe(search: Search, trials: Sequence[Trial]) -> str:
    """The winner's recipe as TOML; its head says where it comes from and what it scored."""
    asked, best = search.settings, best_trial(trials)
    request = DataRequest.from_facts(asked["data"], asked.get("data_settings"))
    rivals = sum(trial.epochs == best.epochs for trial in trials)
    rivals = f"{rivals} trials" if rivals > 1 else "1 trial"
    stop = "" if best.epochs == best.recipe.epochs else f" of {best.recipe.epochs} planned"
    head = [
        f"Found by python -m tuning.search ({asked['tuner']}, seed {asked['seed']}): trial "
        f"{best.trial_id}, the best of",
        f"{rivals} trained for {epochs(best.epochs)}{stop}.",
        "",
        f"  {fit_line(request, 'best.toml')}",
        "",
        f"Validation accuracy {percent(best.score)}, the score that chose it: {asked['data']},",
        f"{_images(best)}, all from the",
        "training set; the test set was not touched.",
        f"{best.parameters:,} of at most {asked['max_params']:,} parameters, "
        f"{best.macs / 1e6:.1f} M MACs.",
    ]
    named = best.recipe.replace(name=f"{request.slug}-{asked['max_params']}-best")
    return "".join(f"# {line}".rstrip() + "\n" for line in head) + "\n" + named.to_toml()
