"""A training from Python, in one call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasresnet.data.request import SMALL
from kerasresnet.python.images import asked_for
from kerasresnet.python.opened import OpenedRun
from kerasresnet.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData
    from kerasresnet.data.request import DataRequest
    from kerasresnet.fit.strategy import Strategy
    from kerasresnet.python.images import Data


def train(
    recipe: Recipe | str | Path | None = None,
    data: Data = "cifar10",
    *,
    seed: int = 0,
    run_dir: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    data_dir: str | Path | None = None,
    strategy: Strategy = "single",
    verbose: bool = True,
    **fields: Any,
) -> OpenedRun:
    """Train a network by a recipe, measure it once on the test images; the run that holds it all.

    `recipe` is a name, a TOML file or a `Recipe` (None: what suits the data), and any of its fields
    can be said beside it: `epochs=3, spec="BB2x64-BN2x100"`. `data` is what `--data` of the command
    takes, a `DataRequest`, or `ImageData` of your own arrays. The run goes to `run_dir`, by default
    `runs/<time>-<name>`. `callbacks` see the model as it trains, and may stop it. `strategy`
    "mirrored" has all GPUs of the machine share every batch. With `verbose` False nothing is
    printed. On two cores, where TensorFlow was not imported before, its threads
    are set as the command sets them, for all of this process.

    Raises `UsageError` for what makes no sense, `KerasResNetError` where the training fails.
    """
    from kerasresnet.fit.options import named_after
    from kerasresnet.fit.plan import prepare, tell_oddities
    from kerasresnet.fit.training import outcome_written, train_run
    from kerasresnet.machine import quiet_tensorflow

    request, images = asked_for(data)
    start = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe or _usual(request, images))
    asked = named_after(start.replace(**fields), start, request)
    quiet_tensorflow(training="tensorflow" not in sys.modules)
    run_dir = None if run_dir is None else Path(run_dir)
    how = {"strategy": strategy, "verbose": verbose}
    where = {"run_dir": run_dir, "data_dir": data_dir}
    asked, images, facts = prepare(asked, request, seed, data=images, **where, **how)
    if verbose:
        tell_oddities(asked, images)
    if run_dir:
        run = OpenedRun.create(run_dir, asked, facts)
    else:
        run = OpenedRun.create_under(Path("runs"), asked, facts)
    with run.locked(), outcome_written(run):
        settled = asked.replace(precision=facts["precision"])
        train_run(run, settled, images, seed=seed, callbacks=callbacks, **how)
    return run


def _usual(request: DataRequest, images: ImageData | None) -> str:
    """The recipe to start from where none is named."""
    if images is None:
        return request.default_recipe()
    return "small" if len(images.x_train) < SMALL else "quick"
