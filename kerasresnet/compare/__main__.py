"""Runs side by side: what differs between them, and what came of it.

python -m kerasresnet.compare runs/20260131-101500-quick runs/20260131-113000-quick
python -m kerasresnet.compare results/quick/*.json --html compared.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import write_text
from kerasresnet.errors import UsageError
from kerasresnet.recipe import DEFAULTS
from kerasresnet.report.pictures import read_results, results_so_far
from kerasresnet.report.tables import pflop_of
from kerasresnet.run import Run

NOTHING = "–"


@dataclass(frozen=True)
class CompareOptions:
    """What differs between runs, and what came of it; the first run is what others are held to."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN RUN …")]
    """Run directories, finished or not, or results.json files."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write curves and table to this file as well: one page, which fetches nothing."""


def open_results(path: Path) -> dict[str, Any]:
    """The results of a run so far, or of a results.json. Raises `UsageError` for something else."""
    return read_results(path) if path.suffix == ".json" else results_so_far(Run.open(path))


def differences(results: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The settings in which runs differ, each with its value in every run.

    Settings are the fields of the recipe but its name, the data and the seed.
    """
    settings = [
        {"data": each.get("data"), "seed": each.get("seed"), **DEFAULTS, **each["recipe"]}
        for each in results
    ]
    names = dict.fromkeys(name for each in settings for name in each if name != "name")
    values = {name: [_text(each.get(name)) for each in settings] for name in names}
    return {name: texts for name, texts in values.items() if len(set(texts)) > 1}


def outcomes(results: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What each run reached and cost; a difference to the first run in brackets."""
    tests = [each.get("test") or {} for each in results]
    flips = [(test.get("tta") or {}).get("flip", {}) for test in tests]
    last = [each["epochs"][-1] if each["epochs"] else {} for each in results]
    rows = {
        "epochs done": [str(len(each["epochs"])) for each in results],
        "parameters": [_count(each.get("parameters")) for each in results],
        "MACs": [_count(each.get("macs")) for each in results],
        "PFLOP": [_number(pflop_of(each) if "images" in each else None) for each in results],
        "training, minutes": [_number(_minutes(each)) for each in results],
        "train accuracy": _shares([row.get("accuracy") for row in last]),
        "validation accuracy": _shares([row.get("val_accuracy") for row in last]),
        "test accuracy": _shares([test.get("accuracy") for test in tests]),
        "with mirror images": _shares([flip.get("accuracy") for flip in flips]),
        "test loss": [_number(test.get("loss")) for test in tests],
    }
    return {name: texts for name, texts in rows.items() if set(texts) != {NOTHING}}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return NOTHING if value is None else str(value)


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def _minutes(results: Mapping[str, Any]) -> float | None:
    seconds = results.get("train_seconds")
    return None if seconds is None else seconds / 60


def _shares(values: Sequence[float | None]) -> list[str]:
    first, *others = values
    texts = [NOTHING if first is None else f"{first:.2%}"]
    for value in others:
        points = "" if None in (first, value) else f" ({100 * (value - first):+.2f})"
        texts.append(NOTHING if value is None else f"{value:.2%}{points}")
    return texts


def print_comparison(names: Sequence[str], results: Sequence[Mapping[str, Any]]) -> None:
    """One table: a column a run, first the settings that differ, then what came of them."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(escape(name), overflow="fold")
    found = differences(results)
    for name, texts in found.items():
        table.add_row(name, *map(escape, texts))
    if not found:
        table.add_row("settings", *["the same"] * len(results))
    table.add_section()
    for name, texts in outcomes(results).items():
        table.add_row(name, *texts, style="bold" if name == "test accuracy" else None)
    Console().print(table)


def compare(options: CompareOptions) -> None:
    """Print the comparison. Raises `UsageError` for fewer than two runs, or for what is none."""
    if len(options.runs) < 2:
        raise UsageError(f"give two runs or more to compare, received {len(options.runs)}")
    results = [open_results(path) for path in options.runs]
    short = [path.stem if path.suffix == ".json" else path.name for path in options.runs]
    names = short if len(set(short)) == len(short) else [str(path) for path in options.runs]
    print_comparison(names, results)
    if options.html:
        from kerasresnet.compare.page import compare_page

        page = compare_page(names, results, differences(results), outcomes(results))
        write_text(options.html, page)
        print(f"wrote {options.html}")


def main() -> None:
    with exit_on_error("kerasresnet.compare"):
        compare(parse(CompareOptions, None, prog="python -m kerasresnet.compare"))


if __name__ == "__main__":
    main()
