"""What sixteen settings of `speedrun94` change, from 32 trainings that changed them all at once.

python benchmarks/screen.py [benchmarks/screen.json]

A setting is changed in half of the trainings, and these halves are balanced (a fractional factorial
design, 2^(16-11) of resolution IV): what one setting does is not mixed up with what another one or
a validation fold does, only with three or more that would act together. So every training says
something of every setting, and a difference has the standard error of 16 against 16. Printed are
differences in points of validation accuracy, plain and of the mean over mirror images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.report.tables import markdown

MEASURES = ("plain", "mirrored")
TRIALS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class ScreenOptions:
    """The effects of all settings that a file of trials changed."""

    trials: Annotated[Path, tyro.conf.Positional] = TRIALS
    """A JSON file: settings, and for each trial those changed, its fold and its accuracies."""


class Effect(NamedTuple):
    """What a setting changes, in points, and the standard error of that."""

    points: float
    error: float


def effects(count: int, trials: list[dict[str, Any]], measure: str) -> list[Effect]:
    """The effect of each of `count` settings on `measure`, by least squares beside the folds."""
    folds = sorted({trial["fold"] for trial in trials})
    changed = np.array([[i in trial["changed"] for i in range(count)] for trial in trials])
    fold = np.array([[trial["fold"] == f for f in folds] for trial in trials])
    terms = np.hstack([changed - 0.5, fold])
    measured = np.array([trial[measure] for trial in trials])
    found, *_ = np.linalg.lstsq(terms, measured, rcond=None)
    left = measured - terms @ found
    variance = left @ left / (len(trials) - terms.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(terms.T @ terms)))
    return [Effect(*pair) for pair in zip(found[:count], errors, strict=False)]


def table(screen: dict[str, Any]) -> list[str]:
    """The lines of a Markdown table, the largest effect first."""
    settings, trials = screen["settings"], screen["trials"]
    plain, mirrored = (effects(len(settings), trials, measure) for measure in MEASURES)
    order = np.argsort([-(p.points + m.points) for p, m in zip(plain, mirrored, strict=True)])
    rows = [[*settings[i], f"{plain[i].points:+.2f}", f"{mirrored[i].points:+.2f}"] for i in order]
    errors = f"(standard error {plain[0].error:.2f})", f"({mirrored[0].error:.2f})"
    return markdown(
        ["from", "to", f"plain {errors[0]}", f"with mirror images {errors[1]}"], "llrr", rows
    )


def print_effects(options: ScreenOptions) -> None:
    """What the trials were, and the table of their effects."""
    screen = read_json(options.trials)
    try:
        print(f"{len(screen['trials'])} trainings of {screen['of']}; {screen['by']}.\n")
        print("\n".join(table(screen)))
    except (TypeError, KeyError):
        raise UsageError(f"{options.trials} is no file of trials such as screen.json") from None


def main() -> None:
    with exit_on_error("benchmarks/screen.py"):
        print_effects(parse(ScreenOptions, None, prog="python benchmarks/screen.py"))


if __name__ == "__main__":
    main()
