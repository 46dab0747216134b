"""What each of many settings changes, from trainings that changed them all at once.

python benchmarks/screen.py                              16 settings of `speedrun94`, 32 trainings
python benchmarks/screen.py benchmarks/screen_best.json  6 settings and 4 networks for `best`, 16

A setting is changed in half of the trainings, and these halves are balanced (fractional factorial
designs, 2^(16-11) and 2^(8-4), of resolution IV): what one setting does is not mixed up with what
another one or a block (a validation fold, a network) does, only with those that act together. So
every training says something of every setting, and a difference has the standard error of one half
against the other. Printed are differences in points of validation accuracy, plain and of the mean
over mirror images, where it was measured of its NLL at the best temperature too; then the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.report.tables import markdown

# How each measure of a trial is called, and its decimals.
MEASURES = {
    "plain": ("plain", 2),
    "mirrored": ("with mirror images", 2),
    "mirrored_nll": ("NLL with mirror images", 4),
}
TRIALS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class ScreenOptions:
    """The effects of all settings that a file of trials changed."""

    trials: Annotated[Path, tyro.conf.Positional] = TRIALS
    """A JSON file: settings, blocks, and of each trial what it changed, its block and measures."""


class Estimate(NamedTuple):
    """What a setting changes or a block has, and the standard error of that."""

    value: float
    error: float


def estimates(
    settings: int, blocks: int, trials: list[dict[str, Any]], measure: str
) -> tuple[list[Estimate], list[Estimate]]:
    """By least squares: what each setting does to `measure`, and each block's, half changed."""
    changed = np.array([[i in trial["changed"] for i in range(settings)] for trial in trials])
    block = np.array([[trial["block"] == i for i in range(blocks)] for trial in trials])
    terms = np.hstack([changed - 0.5, block])
    measured = np.array([trial[measure] for trial in trials])
    found, *_ = np.linalg.lstsq(terms, measured, rcond=None)
    left = measured - terms @ found
    variance = left @ left / (len(trials) - terms.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(terms.T @ terms)))
    pairs = [Estimate(*pair) for pair in zip(found, errors, strict=True)]
    return pairs[:settings], pairs[settings:]


def tables(screen: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines of two Markdown tables: of settings, the largest effect first, and of blocks."""
    settings, blocks, trials = screen["settings"], screen["blocks"], screen["trials"]
    measures = [measure for measure in MEASURES if measure in trials[0]]
    found = [estimates(len(settings), len(blocks), trials, measure) for measure in measures]
    changes, levels = zip(*found, strict=True)
    order = np.argsort(
        [-plain.value - mirrored.value for plain, mirrored in zip(*changes[:2], strict=True)]
    )
    ordered = [[each[i] for i in order] for each in changes]
    return (
        _table(("from", "to"), [settings[i] for i in order], measures, ordered, sign="+"),
        _table(("block",), [[block] for block in blocks], measures, levels),
    )


def _table(
    first: Sequence[str],
    names: Sequence[Sequence[str]],
    measures: Sequence[str],
    found: Sequence[Sequence[Estimate]],  # of each measure, of each name
    *,
    sign: str = "",
) -> list[str]:
    heads, columns = [], []
    for measure, estimated in zip(measures, found, strict=True):
        name, digits = MEASURES[measure]
        heads.append(f"{name} (standard error {estimated[0].error:.{digits}f})")
        columns.append([f"{each.value:{sign}.{digits}f}" for each in estimated])
    rows = [[*name, *values] for name, *values in zip(names, *columns, strict=True)]
    return markdown([*first, *heads], "l" * len(first) + "r" * len(heads), rows)


def print_effects(options: ScreenOptions) -> None:
    """What the trials were, and the tables of what came of them."""
    screen = read_json(options.trials)
    try:
        print(f"{len(screen['trials'])} trainings of {screen['of']}; {screen['by']}.\n")
        for table in tables(screen):
            print("\n".join(table), end="\n\n")
    except (TypeError, KeyError):
        raise UsageError(f"{options.trials} is no file of trials such as screen.json") from None


def main() -> None:
    with exit_on_error("benchmarks/screen.py"):
        print_effects(parse(ScreenOptions, None, prog="python benchmarks/screen.py"))


if __name__ == "__main__":
    main()
