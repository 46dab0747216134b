"""What a search has done so far, read from its directory while it runs or afterwards.

No framework is loaded. Files may be missing, and another process may replace them meanwhile.
"""

from __future__ import annotations

import functools
import json
import math
import operator
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from tuning.search.oracle.brackets import Plan, plan_of
from tuning.search.project import EPOCH_TIMES
from tuning.search.written import OWN


@dataclass(frozen=True)
class Trial:
    """One trial: its choice, its place in the plan, and what its run has measured so far.

    `status` is keras-tuner's (RUNNING, COMPLETED, FAILED, INVALID), or WAITING for one that no
    process runs. `score` is the validation accuracy at the epoch `epochs`, 0 … 1, None before.
    """

    path: Path
    trial_id: str
    status: str
    score: float | None
    values: Mapping[str, Any]
    """The choice, by dimension."""
    iteration: int
    bracket: int
    rung: int
    initial_epoch: int
    """The epoch that it goes on from; 0 where it was not promoted."""
    epochs: int
    """The epoch that it trains up to."""
    parent: str | None
    """The trial that it was promoted from."""
    facts: Mapping[str, Any]
    """What run.json says: parameters, macs, seed, device, versions; empty before it starts."""
    rows: tuple[Mapping[str, float], ...]
    """One for each finished epoch from the first, those before a promotion included."""
    spec: str | None
    error: str | None
    """Why it failed, in one line."""

    @property
    def parameters(self) -> int | None:
        return self.facts.get("parameters")

    @property
    def macs(self) -> int | None:
        return self.facts.get("macs")

    @functools.cached_property
    def recipe(self) -> Recipe:
        """The recipe as trained. Raises `KerasResNetError` where it, or the run, is damaged."""
        return Run(self.path / "run").recipe

    @property
    def epochs_done(self) -> int:
        """Epochs behind it, from the first one, those of its parents included."""
        return len(self.rows)

    @property
    def trained(self) -> int:
        """Epochs that it trained itself."""
        return max(0, min(self.epochs_done, self.epochs) - self.initial_epoch)

    @property
    def seconds(self) -> float:
        """Seconds that its own epochs took, validation included."""
        return sum(row["seconds"] for row in self.rows[self.initial_epoch : self.epochs])

    @property
    def start_seconds(self) -> float | None:
        """What it took beside its epochs: its process, images, network; None where not known."""
        if not self.scored or (all_of_it := self.facts.get("trial_seconds")) is None:
            return None
        return max(0.0, all_of_it - self.seconds)

    @property
    def failed(self) -> bool:
        return self.status in ("FAILED", "INVALID")

    @property
    def scored(self) -> bool:
        """Whether it finished with a score that can be compared."""
        return self.status == "COMPLETED" and self.score is not None and math.isfinite(self.score)


@dataclass(frozen=True)
class Search:
    """One look at the directory of a search; `settings` is empty where search.json is missing."""

    folder: Path
    settings: Mapping[str, Any]
    space: Mapping[str, Any]
    trials: tuple[Trial, ...]
    times: tuple[Mapping[str, Any], ...] = ()
    """What networks' steps take, as epoch_times.json has it."""

    @functools.cached_property
    def plan(self) -> Plan | None:
        return plan_of(self.settings) if self.settings else None

    @property
    def running(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status == "RUNNING"]


def read_trials(folder: str | Path) -> list[Trial]:
    """The trials of the search in `folder`, by number; none where it is no search."""
    return list(SearchReader(folder).read().trials)


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The best of those that finished with the most epochs; None where none finished.

    Scores of an earlier rung are not compared with them: they are of less trained networks.
    """
    scored = [trial for trial in trials if trial.scored]
    return min(scored, key=rank_key, default=None)


def rank_key(trial: Trial) -> tuple[Any, ...]:
    """Sorts trials with a score: most epochs first, then the best, then the earliest."""
    return -trial.epochs, -trial.score, number_of(trial.trial_id)


def number_of(trial_id: str) -> tuple[int, str]:
    """Sorts ids by number, however many digits keras-tuner writes them with."""
    return (int(trial_id) if trial_id.isdigit() else 10**9, trial_id)


class SearchReader:
    """Looks at one search again and again; only files that have changed are read again."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._seen: dict[Path, tuple[Any, Any]] = {}
        self._parts: list[Any] = []

    def read(self) -> Search:
        """The search as it is now; the same object as before where nothing has changed."""
        search = self._cached([self.folder / "search.json"], lambda path: _read(path, dict))
        oracle = self._cached([self.folder / "oracle.json"], _ongoing)
        homes = self.folder.glob("trial_*")
        trials = [trial for home in homes if (trial := self._trial(home, oracle))]
        trials.sort(key=lambda trial: number_of(trial.trial_id))
        times = self._cached([self.folder / EPOCH_TIMES], lambda path: tuple(_read(path, list)))
        parts = [search, times, *trials]
        if len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts)):
            return self._found
        settings, space = search.get("settings", {}), search.get("space", {})
        self._parts, self._found = parts, Search(self.folder, settings, space, tuple(trials), times)
        return self._found

    def _trial(self, home: Path, ongoing: frozenset[str] | None) -> Trial | None:
        run = home / "run"
        files = [home / "trial.json", *(run / name for name in RUN_FILES)]
        running = ongoing is None or home.name.removeprefix("trial_") in ongoing
        return self._cached(files, lambda *paths: _read_trial(home, *paths, running), running)

    def _cached(self, paths: Sequence[Path], read: Callable[..., Any], *also: Any) -> Any:
        # The stamps come first: what changes after them is read again at the next look.
        stamps = (*(_stamp(path) for path in paths), *also)
        if paths[0] not in self._seen or self._seen[paths[0]][0] != stamps:
            self._seen[paths[0]] = (stamps, read(*paths))
        return self._seen[paths[0]][1]


RUN_FILES = ("run.json", "recipe.toml", "metrics.json")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, kind: type, parse: Callable[[str], Any] = json.loads) -> Any:
    """What a file says, or an empty `kind` where it is missing or half made."""
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return kind()
    return found if isinstance(found, kind) else kind()


def _ongoing(path: Path) -> frozenset[str] | None:
    """Ids of the trials that a process runs now; None where the oracle has not been saved."""
    oracle = _read(path, dict)
    return frozenset(oracle["ongoing_trials"].values()) if "ongoing_trials" in oracle else None


def _read_trial(
    home: Path, trial: Path, run: Path, recipe: Path, metrics: Path, running: bool
) -> Trial | None:
    """The trial of the folder `home`, or None where it is not made yet."""
    state = _read(trial, dict)
    if "trial_id" not in state:
        return None
    values = state["hyperparameters"]["values"]
    facts = _read(run, dict)
    status = state["status"]
    message = (state.get("message") or "").strip().splitlines()
    failed = status in ("FAILED", "INVALID")
    return Trial(
        path=home,
        trial_id=state["trial_id"],
        status="WAITING" if status == "RUNNING" and not running else status,
        score=state["score"],
        values={name: v for name, v in values.items() if not name.startswith(OWN)},
        iteration=values.get("tuner/iteration", 0),
        bracket=values.get("tuner/bracket", 0),
        rung=values.get("tuner/round", 0),
        initial_epoch=values.get("tuner/initial_epoch", 0),
        epochs=values.get("tuner/epochs", 0),
        parent=values.get("tuner/trial_id"),
        facts=facts,
        rows=tuple(_read(metrics, list)),
        spec=_read(recipe, dict, tomllib.loads).get("spec"),
        error=(facts.get("error") or " ".join(message[-1:]) or "no reason given")
        if failed
        else None,
    )
