"""Where a training is logged beside its run: Weights & Biases, or MLflow.

Where these keep it, and whether they reach a server, is theirs to be told: WANDB_MODE=offline,
MLFLOW_TRACKING_URI=file:mlruns (with MLFLOW_ALLOW_FILE_STORE=true).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from kerasresnet.errors import UsageError, first_line
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras

Log = Literal["none", "wandb", "mlflow"]
Callbacks = list["keras.callbacks.Callback"]
PROJECT = "kerasresnet"  # Weights & Biases' project, MLflow's experiment, unless theirs is said


def check_log(log: Log) -> None:
    """Raises `UsageError` where the package that `log` needs is not installed."""
    if log != "none" and importlib.util.find_spec(log) is None:
        raise UsageError(f'--log {log} needs pip install "kerasresnet[{log}]"')


@contextlib.contextmanager
def logged(log: Log, run: Run, recipe: Recipe) -> Iterator[Callbacks]:
    """The callbacks that log a training: its recipe, every row of its metrics, its test result.

    Raises `UsageError` where the log does not open.
    """
    if log == "none":
        yield []
        return
    fields = recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()}
    settings = {name: str(value) for name, value in fields.items()}
    with contextlib.ExitStack() as stack:
        try:
            opened = _wandb if log == "wandb" else _mlflow
            callbacks = stack.enter_context(opened(run, settings))
        except Exception as error:  # whatever a missing server or setting makes them raise
            raise UsageError(
                f"--log {log} does not open: {first_line(error)}; "
                f"mend that, or leave it out, and go on with --resume {run.path}"
            ) from None
        yield callbacks


@contextlib.contextmanager
def _wandb(run: Run, settings: dict[str, str]) -> Iterator[Callbacks]:
    import wandb

    project = os.environ.get("WANDB_PROJECT", PROJECT)
    with wandb.init(project=project, name=run.path.name, config=settings) as there:
        yield _each_epoch(run, lambda row, epoch: there.log(row, step=epoch))
        there.summary.update(_tested(run))


@contextlib.contextmanager
def _mlflow(run: Run, settings: dict[str, str]) -> Iterator[Callbacks]:
    import mlflow

    if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & os.environ.keys():
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run.path.name):
        mlflow.log_params(settings)
        yield _each_epoch(run, lambda row, epoch: mlflow.log_metrics(row, step=epoch))
        mlflow.log_metrics(_tested(run))


def _each_epoch(run: Run, write: Callable[[dict[str, float], int], object]) -> Callbacks:
    """`write` gets the run's own row after each epoch, with learning rate and seconds."""
    import keras

    def write_newest(epoch: int, logs: object) -> None:
        row = dict(run.metrics[-1])
        write(row, row.pop("epoch"))

    return [keras.callbacks.LambdaCallback(on_epoch_end=write_newest)]


def _tested(run: Run) -> dict[str, float]:
    test = run.results["test"]
    return {f"test_{name}": test[name] for name in ("accuracy", "loss")}
