"""What a study does in processes of their own: look at data and device, and train one run.

A training that dies takes nothing with it, and one that is done leaves no memory behind.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasresnet.data import DataRequest
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.run import Run
from tuning.engine.job import Died
from tuning.engine.local import Local
from tuning.study.factors import Setting
from tuning.study.runs import Study, StudyRun

PATIENCE = 60.0  # seconds that an interrupted training may take to write down what it has


def examine(
    study: Study, data_dir: Path | None, *, fit_only: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """What run.json says by the recipe's name, and a sentence for each setting the data refuses.

    With `fit_only`, or where the data refuses some, only the sentences. Not in this process: one
    that has looked at an accelerator keeps hold of its memory.
    """
    request = DataRequest.from_facts(study.data, study.data_settings)
    engine = Local(1)
    try:
        return engine.call(look, study.settings, request, data_dir, fit_only)
    except Died:
        raise KerasResNetError(
            f"the process that loaded {study.data} died; is there memory left?"
        ) from None
    finally:
        engine.stop()


def look(
    settings: tuple[Setting, ...], request: DataRequest, data_dir: Path | None, fit_only: bool
) -> tuple[dict[str, Any], list[str]]:
    """`examine`, in the process that does it."""
    from kerasresnet.fit.plan import check_fits, facts_of
    from kerasresnet.machine import quiet_tensorflow

    if request.data != "digits":  # they need no TensorFlow
        quiet_tensorflow()
    data, mistakes = request.load(data_dir), {}
    for setting in settings:
        try:
            check_fits(setting.recipe, data)
        except UsageError as error:
            mistakes.setdefault(str(error), setting.label)  # the base's mistakes are told once
    if mistakes or fit_only:
        return {}, [f"{label}: {error}" for error, label in mistakes.items()]
    quiet_tensorflow()
    shared = {**request.to_facts(data), "source": data.source}
    recipes = {setting.recipe.name: setting.recipe for setting in settings}
    return {
        name: facts_of(recipe, 0, data.class_names) | shared for name, recipe in recipes.items()
    }, []


def train(
    study_run: StudyRun, facts: dict[str, Any], data_dir: Path | None, watch: Callable[[], None]
) -> None:
    """Train a run, or train it on, as `python -m kerasresnet.fit --resume` does.

    `facts` are those of `examine`. `watch` is called twice a second meanwhile; an interruption of
    this process is passed on. Where the training fails, run.json says why.
    """
    run = study_run.run
    if not run.path.exists():
        own = {"seed": study_run.seed, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        Run.create(run.path, study_run.recipe, facts[study_run.recipe.name] | own)
    run.update(error=None)
    engine = Local(1, study_run.log.parent, fresh=True)
    engine.submit(study_run.name, go_on, run.path, data_dir, again=False)
    try:
        while not (found := list(engine.ended(0.5))):
            watch()
    finally:
        engine.stop(grace=PATIENCE)
    if not study_run.finished:
        error = study_run.error or str(found[0].error)
        with contextlib.suppress(UsageError):  # somebody else trains it: then that is the reason
            run.update(status="failed", error=error)


def go_on(path: Path, data_dir: Path | None) -> None:
    """Train the run in `path` to its end, in the process that does it."""
    from kerasresnet.fit.options import FitOptions
    from kerasresnet.fit.training import fit_command
    from kerasresnet.machine import quiet_tensorflow

    quiet_tensorflow(training=True)
    recipe = Run.open(path).recipe
    fit_command(FitOptions(training=recipe, resume=path, export=False, data_dir=data_dir))
