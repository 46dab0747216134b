"""The directory of a study: what it was asked for, and its runs.

study.json              base, data, seeds, and the recipe of every setting
runs/<setting>-seed<k>/ one run each, with its results.json
logs/                   what the trainings print
table.md .csv .json     the report, with plot.png and report.html; written from the files above
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kerasresnet.disk import ASIDE, locked, made, read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.network.budget import count_macs
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run
from kerasresnet.run.record import DataSettings
from kerasresnet.schema import Schema
from tuning.study.factors import Setting

LOCK = "study.lock"


class _SettingPart(Schema):
    factor: str
    value: str
    recipe: dict[str, Any]


class _StudyFile(Schema):
    """study.json."""

    base: str
    data: str
    data_settings: DataSettings | None = None
    seeds: Annotated[int, Field(ge=1)]
    settings: tuple[_SettingPart, ...]


@dataclass(frozen=True)
class Study:
    """What a study is asked for: its settings, the base first, each with seeds 0 … seeds - 1."""

    path: Path
    base: str
    seeds: int
    settings: tuple[Setting, ...]
    data: str = "cifar10"
    data_settings: dict[str, Any] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """A study that exists. Raises `UsageError` where `path` is not one."""
        path = Path(path)
        if not (path / "study.json").is_file():
            what = "is no study: it has no study.json" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} {what}; give a directory that tuning.study made")
        try:
            written = _StudyFile(**read_json(path / "study.json"))
            found = [Setting(s.factor, s.value, Recipe(**s.recipe)) for s in written.settings]
        except (KerasResNetError, TypeError) as error:
            raise KerasResNetError(
                f"{path / 'study.json'} is damaged ({error}); begin again with another --dir"
            ) from None
        data = written.model_dump(mode="json", exclude_none=True, include={"data", "data_settings"})
        return cls(path, written.base, written.seeds, tuple(found), **data)

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """The study stands in its directory, for this process alone.

        Raises `UsageError` where another process is at it, where it is there with other settings,
        or where the directory holds something else. More seeds and more values are no other
        settings: what is there stays as it is.
        """
        names = {entry.name for entry in made(self.path, "study").iterdir()}
        if "study.json" not in names and names - {LOCK, f"{ASIDE}study.json"}:
            raise UsageError(f"{self.path} is no study of ours; choose another --dir")
        refusal = f"another study is running in {self.path}; wait for it, or stop it"
        with locked(self.path / LOCK, refusal):
            there = (self.path / "study.json").is_file()
            if there and (found := differences(Study.open(self.path), self)):
                raise UsageError(
                    f"{self.path} holds a study with other settings: {'; '.join(found)}; type "
                    "those, or choose another --dir"
                )
            settings = tuple(
                _SettingPart(factor=s.factor, value=s.value, recipe=_written(s.recipe))
                for s in self.settings
            )
            file = _StudyFile(
                base=self.base,
                data=self.data,
                data_settings=self.data_settings,
                seeds=self.seeds,
                settings=settings,
            )
            write_json(self.path / "study.json", file.model_dump(mode="json"))
            yield

    def runs(self) -> list[StudyRun]:
        """Every run once, seed by seed: the first seed of all settings can be compared early."""
        recipes = {s.recipe.name: s.recipe for s in self.settings}
        return [
            StudyRun(self, recipe, seed)
            for seed in range(self.seeds)
            for recipe in recipes.values()
        ]


@dataclass(frozen=True)
class StudyRun:
    """One training of a study, whether it exists already or not."""

    study: Study
    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        return f"{self.recipe.name}-seed{self.seed}"

    @property
    def run(self) -> Run:
        return Run(self.study.path / "runs" / self.name)

    @property
    def log(self) -> Path:
        return self.study.path / "logs" / f"{self.name}.log"

    @property
    def finished(self) -> bool:
        return self.run.results_path.is_file()

    @property
    def epochs_done(self) -> int:
        return len(self.run.metrics)

    @property
    def error(self) -> str | None:
        """Why it failed, where it did."""
        return self.run.facts.get("error") if self.run.path.exists() else None

    @property
    def work(self) -> float:
        """Multiply-accumulates of one epoch, per image: what its time is proportional to."""
        return self.recipe.epoch_share * count_macs(self.recipe.spec)


def differences(there: Study, here: Study) -> list[str]:
    """One phrase for each thing that a study already has otherwise."""
    found = {}
    for name in ("base", "data", "data_settings"):
        if (before := getattr(there, name)) != (now := getattr(here, name)):
            found[f"{name} is {before!r} there and {now!r} here"] = None
    if there.seeds > here.seeds:
        found[f"seeds is {there.seeds} there and {here.seeds} here"] = None
    wanted = {s.label: s.recipe for s in here.settings}
    for setting in there.settings:
        if setting.label not in wanted:
            found[f"{setting.label} is there and not here"] = None
            continue
        before, now = _written(setting.recipe), _written(wanted[setting.label])
        for name in before:
            # The same words for every setting that shares the difference, so that it is told once.
            if before[name] != now[name] and name != "name":
                found[f"{name} is {before[name]!r} there and {now[name]!r} here"] = None
    return list(found)


def _written(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()}
