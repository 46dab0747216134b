"""What a search is going to train: Hyperband's brackets and rungs, counted before it starts.

The sizes are keras-tuner's (`HyperbandOracle`), after Li et al., arXiv 1603.06560.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rung:
    """So many trials, each trained up to the same epoch."""

    trials: int
    epochs: int


@dataclass(frozen=True)
class Bracket:
    """Rungs from many trials of few epochs to few of many; a rung's best go on in the next."""

    number: int
    iteration: int
    rungs: tuple[Rung, ...]

    @property
    def trials(self) -> int:
        """Trials of all rungs; a promotion is a trial of its own, as keras-tuner counts."""
        return sum(rung.trials for rung in self.rungs)

    @property
    def epochs(self) -> int:
        """Epochs to train: a promoted trial trains only those it does not have yet."""
        starts = (0, *(rung.epochs for rung in self.rungs))
        return sum(
            rung.trials * (rung.epochs - start)
            for rung, start in zip(self.rungs, starts, strict=False)
        )


@dataclass(frozen=True)
class Plan:
    """All brackets of a search, in the order in which they begin."""

    brackets: tuple[Bracket, ...]

    @property
    def trials(self) -> int:
        return sum(bracket.trials for bracket in self.brackets)

    @property
    def epochs(self) -> int:
        return sum(bracket.epochs for bracket in self.brackets)


def plan_brackets(max_epochs: int, factor: int = 3, iterations: int = 1) -> Plan:
    """The plan of a Hyperband search: most rungs first, then ever fewer, `iterations` times."""
    highest = -1
    epochs = float(max_epochs)
    # Divided, not taken from a logarithm: it must round as keras-tuner does.
    while epochs >= 1:
        epochs /= factor
        highest += 1
    return Plan(
        tuple(
            Bracket(number, iteration, _rungs(number, max_epochs, factor))
            for iteration in range(iterations)
            for number in range(highest, -1, -1)
        )
    )


def _rungs(number: int, max_epochs: int, factor: int) -> tuple[Rung, ...]:
    at_the_top = math.ceil(1 + math.log(max_epochs, factor)) / (number + 1)
    return tuple(
        Rung(
            trials=math.ceil(at_the_top * factor ** (number - rung)),
            epochs=math.ceil(max_epochs / factor ** (number - rung)),
        )
        for rung in range(number + 1)
    )


def plan_trials(trials: int, epochs: int) -> Plan:
    """The plan of a search that trains every trial to the end: one bracket of one rung."""
    return Plan((Bracket(0, 0, (Rung(trials, epochs),)),))


def plan_of(settings: Mapping[str, Any]) -> Plan:
    """The plan of a search with the `settings` of its search.json."""
    if settings["tuner"] == "hyperband":
        return plan_brackets(settings["max_epochs"], settings["factor"], settings["iterations"])
    return plan_trials(settings["max_trials"], settings["max_epochs"])
