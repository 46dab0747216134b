"""One trial, in a process of its own: a run that a promoted one goes on from where it stood."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.disk import is_full, locked, read_json, write_json
from kerasresnet.errors import KerasResNetError, first_line
from kerasresnet.fit.plan import facts_of
from kerasresnet.network.budget import check_budget
from kerasresnet.run import Run
from kerasresnet.schema import Schema
from tuning.search.images import SearchImages, prepare_images, search_images
from tuning.search.project import OBJECTIVE, Project, trial_folder

STARTS = 3  # times that a trial may begin an epoch under one driver before it counts as failed
GIVEN_UP = 60.0  # seconds that a process which lost its trial may need to let go of it


class _Starts(Schema):
    """starts.json: how often each driver has begun an epoch."""

    epoch: int
    by: dict[str, int]


def prepare(folder: Path, data_dir: Path | None, verbose: bool) -> None:
    """Make the images of the search in `folder`, if they are not there yet, or check them.

    Raises `UsageError` where the data set has too few, or the base recipe cannot take them;
    `KerasResNetError` where they are damaged.
    """
    _quiet(verbose)
    prepare_images(Project.open(folder), data_dir)


def train_trial(
    folder: Path,
    trial_id: str,
    values: Mapping[str, Any],
    driver: str,
    verbose: bool = False,
    handed_out: float | None = None,
) -> float:
    """Train a trial of the search in `folder` up to its rung, from where its run stands.

    `values` are its choice and its place in the plan, `driver` the name of the process that hands
    trials out, `handed_out` the time when it did, as `time.time()` has it. Returns the validation
    accuracy, 0 … 1, of the rung's last epoch. Raises `KerasResNetError` where it cannot be trained,
    and its run.json says why, too; what a full disk raises, which is no fault of the trial's.
    """
    home, began = trial_folder(folder, trial_id), time.time()
    refusal = f"another process trains trial {trial_id}"
    with locked(home / "trial.lock", refusal, wait=GIVEN_UP):
        try:
            _count_start(home, driver)
            _quiet(verbose)
            return _train(Project.open(folder), home, trial_id, values, handed_out or began)
        except Exception as error:
            if (home / "run" / "run.json").is_file() and not is_full(error):
                with contextlib.suppress(KerasResNetError):  # the disk may be full now
                    Run(home / "run").update(status="failed", error=first_line(error))
            raise


def _quiet(verbose: bool) -> None:
    from kerasresnet.machine import quiet_tensorflow

    quiet_tensorflow(verbose)


def _train(
    project: Project, home: Path, trial_id: str, values: Mapping[str, Any], began: float
) -> float:
    from kerasresnet.fit.restore import NothingLeft

    images, epochs = search_images(project), values["tuner/epochs"]
    run = run_of(project, home, trial_id, values, images)
    try:
        _train_up_to(epochs, project, run, images)
    except NothingLeft as error:
        print(f"trial {trial_id} begins again: {error}", file=sys.stderr, flush=True)
        shutil.rmtree(run.path)
        run = run_of(project, home, trial_id, values, images, anew=True)
        _train_up_to(epochs, project, run, images)
    run.update(
        status="finished",
        finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        trial_seconds=round(max(0.0, time.time() - began), 1),
        error=None,
    )
    (home / "starts.json").unlink(missing_ok=True)
    return run.metrics[epochs - 1][OBJECTIVE]


def _train_up_to(epochs: int, project: Project, run: Run, images: SearchImages) -> None:
    from kerasresnet.fit.epochs import train_epochs

    check_budget(run.recipe.spec, project.settings.max_params)  # whatever the gate let pass
    run.update(status="running")
    train_epochs(
        run,
        run.recipe,
        images.train,
        images.val,
        seed=run.facts["seed"],
        until=epochs,
        statistics=images.statistics,
    )


def run_of(
    project: Project,
    home: Path,
    trial_id: str,
    values: Mapping[str, Any],
    images: SearchImages,
    *,
    anew: bool = False,
) -> Run:
    """The trial's run: the one it has, a copy of what it was promoted from, or a new one.

    A new one is begun `anew` too, or where what it was promoted from has not come as far or is
    lost; it becomes the same, for it begins with the seed that the first of them had.
    """
    if (home / "run").is_dir():
        return Run.open(home / "run")
    aside = home / "aside-run"  # only who holds the trial's lock writes here
    shutil.rmtree(aside, ignore_errors=True)
    parent = Run(trial_folder(project.path, values.get("tuner/trial_id", "")) / "run")
    reached = max((state.epoch for state in parent.states()), default=0)
    if not anew and reached and reached >= values["tuner/initial_epoch"]:
        # Links are enough: a run replaces its files, and never writes into one.
        shutil.copytree(
            parent.path,
            aside,
            copy_function=_link_or_copy,
            ignore=shutil.ignore_patterns("*.lock"),  # a link would be the parent's own
        )
    else:
        recipe = project.space.recipe(values)
        seed = trial_seed(project.settings.seed, _first_of(project, trial_id, values))
        facts = facts_of(recipe, seed, images.class_names)
        counted = {"train": len(images.train[0]), "val": len(images.val[0])}
        Run.create(aside, recipe, facts | {"images": counted})
    os.rename(aside, home / "run")
    return Run.open(home / "run")


def _first_of(project: Project, trial_id: str, values: Mapping[str, Any]) -> str:
    """The trial that a promoted one was first, or the trial itself."""
    while parent := values.get("tuner/trial_id"):
        state = read_json(trial_folder(project.path, parent) / "trial.json")
        trial_id, values = parent, state["hyperparameters"]["values"]
    return trial_id


def trial_seed(seed: int, trial_id: str) -> int:
    """Seeds far apart, the same on every machine, whoever runs the trial."""
    return int(np.random.SeedSequence([seed, int(trial_id)]).generate_state(1)[0]) % 2**31


def _count_start(home: Path, driver: str) -> None:
    """Note the start; raises `KerasResNetError` where the same epoch killed its process.

    Counted for each driver by itself: one that was stopped took its processes with it, and such an
    end says nothing of the trial.
    """
    epoch, file = _epochs_done(home), home / "starts.json"
    try:
        before = _Starts(**read_json(file))
        counts = before.by if before.epoch == epoch else {}
    except (KerasResNetError, TypeError):  # none, or damaged: it only counts
        counts = {}
    counts = {**counts, driver: counts.get(driver, 0) + 1}
    write_json(file, {"epoch": epoch, "by": counts})
    if counts[driver] > STARTS:
        raise KerasResNetError(f"its process died {STARTS} times in epoch {epoch + 1}")


def _epochs_done(home: Path) -> int:
    try:
        return len(Run(home / "run").metrics)
    except KerasResNetError:  # damaged, and mended as soon as the run goes on
        return 0


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
