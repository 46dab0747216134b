"""A training from its beginning to its end: data, run, epochs, test, export."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasresnet.errors import UsageError
from kerasresnet.fit.options import FitOptions
from kerasresnet.fit.plan import check_fits, fitted, print_plan
from kerasresnet.network.budget import check_budget, count_macs, count_parameters
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run, taken, versions, write_json

if TYPE_CHECKING:
    from kerasresnet.data import ImageData


def train_run(run: Run, recipe: Recipe, data: ImageData, *, seed: int = 0) -> dict[str, Any]:
    """Train what `recipe` says on `data` into `run`, from its last finished epoch if it has one.

    Validation is a stratified slice of the training images; the test set is read once, after the
    last epoch. Returns what it writes to results.json. Raises `UsageError` where data and spec do
    not fit together, `KerasResNetError` where the loss becomes NaN.
    """
    import keras

    from kerasresnet.data import train_val_split
    from kerasresnet.data.statistics import channel_statistics
    from kerasresnet.fit.epochs import train_epochs
    from kerasresnet.report.pictures import draw_confusion, draw_curves

    check_budget(recipe.spec, recipe.max_params)
    held_out = check_fits(recipe, data)
    if data.x_val is None:
        train, val = train_val_split(data.x_train, data.y_train, held_out, seed)
    else:
        train, val = (data.x_train, data.y_train), (data.x_val, data.y_val)
    statistics = channel_statistics(train[0]) if data.own_statistics else None
    boards = []
    if keras.backend.backend() == "tensorflow":
        boards = [keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False)]
    train_epochs(run, recipe, train, val, seed=seed, statistics=statistics, callbacks=boards)
    results = {
        **run.facts,
        "status": "finished",
        "seed": seed,
        "recipe": recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()},
        "images": {"train": len(train[0]), "val": len(val[0]), "test": len(data.x_test)},
        "epochs": run.metrics,
        "train_seconds": round(sum(row["seconds"] for row in run.metrics), 1),
        "pflop": round(sum(recipe.pflop_by_epoch(len(train[0]))), 5),
        "test": measure_kept_model(run, data),
    }
    draw_curves(run.metrics, run.path / "curves.png", title=recipe.name)
    draw_confusion(
        results["test"]["confusion"], data.labels, run.path / "confusion.png", title=recipe.name
    )
    write_json(run.results_path, results)
    run.update(status="finished")
    return results


def measure_kept_model(run: Run, data: ImageData) -> dict[str, Any]:
    """Metrics of the run's kept model on the test set, in float32 as it will be served.

    Those of the plain network, and under "tta" of the mean over image and mirror image.
    """
    import keras

    from kerasresnet.evaluate.measure import measure_with_tta

    model = keras.saving.load_model(run.model_path, compile=False)
    return measure_with_tta(model.predict_on_batch, data.x_test, data.y_test, data.labels)


def start(options: FitOptions) -> tuple[Run, Recipe, ImageData, int]:
    """Load the data, check everything, and make (or open) the run directory."""
    from kerasresnet.data import load_again
    from kerasresnet.machine import describe_device, resolve_precision

    if options.resume:
        run = Run.open(options.resume)
        if run.results_path.is_file():
            raise UsageError(f"{run.path} has finished already: see {run.results_path}")
        facts = run.facts
        data = load_again(facts, options.data_dir)
        with run.locked():
            run.update(status="running", error=None, versions=versions(), device=describe_device())
        recipe = run.recipe.replace(precision=facts["precision"])
        return run, recipe, data, facts["seed"]
    recipe, request = options.training, options.request()
    if request.keeps_size:  # a mistake shows before anything is loaded
        check_budget(recipe.spec, recipe.max_params)
    if options.run_dir and options.run_dir.exists():
        raise taken(options.run_dir)
    request = request.for_input(recipe.spec.input_shape)
    data = request.load(options.data_dir)
    recipe = fitted(recipe, data.image_shape, data.num_classes)
    check_budget(recipe.spec, recipe.max_params)
    check_fits(recipe, data)
    facts = {
        "name": recipe.name,
        **request.to_facts(data),
        "source": data.source,
        "skipped": list(data.skipped) or None,
        "seed": options.seed,
        "precision": resolve_precision(recipe.precision),
        "device": describe_device(),
        "parameters": count_parameters(recipe.spec),
        "macs": count_macs(recipe.spec),
        "labels": list(data.labels),
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if options.run_dir:
        return Run.create(options.run_dir, recipe, facts), recipe, data, options.seed
    return Run.create_under(Path("runs"), recipe, facts), recipe, data, options.seed


def fit_command(options: FitOptions) -> None:
    """Plan, train, test, export; Ctrl-C says how to go on."""
    import keras

    run, recipe, data, seed = start(options)
    print_plan(run, recipe, data, options)
    try:
        results = train_run(run, recipe, data, seed=seed)
    except KeyboardInterrupt:
        done = len(run.metrics)
        run.update(status="interrupted")
        print(
            f"\nstopped after {done} of {recipe.epochs} epochs; go on with\n"
            f"  python -m kerasresnet.fit --resume {run.path}"
            + (f" --data-dir {options.data_dir}" if options.data_dir else ""),
            file=sys.stderr,
        )
        sys.exit(130)
    except BaseException as error:
        run.update(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    test = results["test"]
    print(
        f"test accuracy {test['accuracy']:.2%}, loss {test['loss']:.4f}, with the mirror image "
        f"{test['tta']['flip']['accuracy']:.2%}, "
        f"trained in {results['train_seconds'] / 60:.1f} min: {run.results_path}"
    )
    if options.export and keras.backend.backend() != "tensorflow":
        print(
            f"not exported: that needs KERAS_BACKEND=tensorflow, then kerasresnet.export {run.path}"
        )
    elif options.export:
        from kerasresnet.export import export_saved_model

        print(f"exported to {export_saved_model(run, options.export_dir)}")
