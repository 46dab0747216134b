"""Train a network by a recipe, evaluate it once on the test set, export it.

python -m kerasresnet.fit                                   real CIFAR-10, recipe quick
python -m kerasresnet.fit --recipe table1-06                a row of the report's Table 1
python -m kerasresnet.fit --spec BB2x64-BN2x100 --epochs 20
python -m kerasresnet.fit --resume runs/20260131-101500-quick
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.budget import check_budget, count_macs, count_parameters
from kerasresnet.errors import UsageError, exit_on_error
from kerasresnet.options import FitOptions, parse_fit_options
from kerasresnet.plan import check_fits, print_plan
from kerasresnet.quiet import quiet_tensorflow
from kerasresnet.recipe import NESTEROV, Recipe
from kerasresnet.run import Run, taken, versions, write_json

VAL_BATCH = 500  # images; only memory and speed depend on it

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData


def train_run(run: Run, recipe: Recipe, data: ImageData, *, seed: int = 0) -> dict[str, Any]:
    """Train what `recipe` says on `data` into `run`, from its last finished epoch if it has one.

    Validation is a stratified slice of the training images; the test set is read once, after the
    last epoch. Returns what it writes to results.json. Raises `UsageError` where data and spec do
    not fit together, `KerasResNetError` where the loss becomes NaN.
    """
    import keras

    from kerasresnet import device, report
    from kerasresnet.data import train_val_split
    from kerasresnet.model import build_model

    check_budget(recipe.spec, recipe.max_params)
    held_out = check_fits(recipe, data)
    train, val = train_val_split(data.x_train, data.y_train, held_out, seed)
    kept = build_model(recipe.spec)
    keras.utils.set_random_seed(seed)
    with device.training_precision(device.resolve_precision(recipe.precision)):
        network = build_model(recipe.spec)
        with device.fused_batch_norm(network), run.locked():
            _fit_epochs(network, kept, run, recipe, train, val, seed)
    results = {
        **run.facts,
        "status": "finished",
        "seed": seed,
        "recipe": recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()},
        "images": {"train": len(train[0]), "val": len(val[0]), "test": len(data.x_test)},
        "epochs": run.metrics,
        "train_seconds": round(sum(row["seconds"] for row in run.metrics), 1),
        "test": measure_kept_model(run, data),
    }
    report.draw_curves(run.metrics, run.path / "curves.png", title=recipe.name)
    report.draw_confusion(
        results["test"]["confusion"], data.labels, run.path / "confusion.png", title=recipe.name
    )
    write_json(run.results_path, results)
    run.update(status="finished")
    return results


def compile_model(model: keras.Model, recipe: Recipe, images: int) -> None:
    """Compile `model` for `recipe`: optimizer and schedules for epochs of `images` images."""
    import keras

    from kerasresnet.data import steps_per_epoch
    from kerasresnet.device import on_tensorflow_cpu
    from kerasresnet.optim import build_optimizer
    from kerasresnet.schedules import build_momentum_schedule, build_schedule

    steps = steps_per_epoch(images, recipe.batch_size)
    total = steps * recipe.epochs
    warmup = round(recipe.warmup_epochs * steps)
    schedule = build_schedule(
        recipe.schedule,
        peak=recipe.learning_rate,
        total_steps=total,
        warmup_steps=warmup,
        final_fraction=recipe.final_fraction,
        steps_per_epoch=steps if recipe.schedule_step == "epoch" else None,
        first_cycle_steps=max(1, round(recipe.restart_epochs * steps)),
        cycle_mult=recipe.restart_growth,
        peak_fraction=recipe.peak_at,
        anneal=recipe.anneal,
    )
    momentum_schedule = None
    if recipe.cycle_momentum:
        low, high = recipe.cycle_momentum
        momentum_schedule = build_momentum_schedule(
            total_steps=total,
            warmup_steps=warmup,
            base_momentum=low,
            max_momentum=high,
            peak_fraction=recipe.peak_at,
            anneal=recipe.anneal,
        )
    optimizer = build_optimizer(
        recipe.optimizer,
        schedule,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.optimizer in NESTEROV,
        weight_decay=recipe.weight_decay,
        decay=recipe.decay,
        decay_norm_and_bias=recipe.decay_norm_and_bias,
        ema_momentum=recipe.ema,
        momentum_schedule=momentum_schedule,
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        ),
        metrics=["accuracy"],
        # Measured: on a CPU, XLA trains these networks at half the speed.
        jit_compile=False if on_tensorflow_cpu() else "auto",
    )


def _fit_epochs(network, kept, run: Run, recipe: Recipe, train, val, seed: int) -> None:
    """Train the epochs that `run` does not have yet, writing each one down."""
    import keras

    from kerasresnet.augment import build_augmentation
    from kerasresnet.augmented_model import AugmentedModel
    from kerasresnet.callbacks import AveragedWeights, ParameterBudget, RunWriter, StopOnNaN
    from kerasresnet.data import steps_per_epoch

    classes = recipe.spec.classes
    model, augment = network, build_augmentation(recipe.augment, num_classes=classes)
    if augment and recipe.augment_on == "device":
        model, augment = AugmentedModel(network, augment, seed), None
    compile_model(model, recipe, len(train[0]))
    first_epoch = _restore(model, run)
    if first_epoch == recipe.epochs:
        return
    averages = AveragedWeights() if recipe.ema else None
    callbacks = [ParameterBudget(recipe.max_params), StopOnNaN()]
    callbacks += [averages] if averages else []
    callbacks += [RunWriter(run, network, kept, keep=recipe.keep, averages=averages)]
    if keras.backend.backend() == "tensorflow":
        callbacks += [keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False)]
    batches, val_batches = _batches(train, val, recipe, augment, seed, first_epoch)
    model.fit(
        batches,
        steps_per_epoch=steps_per_epoch(len(train[0]), recipe.batch_size),
        initial_epoch=first_epoch,
        epochs=recipe.epochs,
        validation_data=val_batches,
        validation_batch_size=VAL_BATCH,
        shuffle=False,  # the data is shuffled already, by seed and epoch
        callbacks=callbacks,
        verbose=1 if sys.stdout.isatty() else 2,  # a bar for people, a line an epoch for logs
    )


def _batches(train, val, recipe: Recipe, augment, seed: int, first_epoch: int) -> tuple[Any, Any]:
    """Training and validation data: tf.data, or plain arrays where TensorFlow may be missing."""
    import keras

    classes = recipe.spec.classes
    settings = {
        "num_classes": classes,
        "batch_size": recipe.batch_size,
        "seed": seed,
        "first_epoch": first_epoch,
    }
    if keras.backend.backend() == "tensorflow" or recipe.augment_on == "pipeline":
        from kerasresnet.data import eval_dataset, train_dataset

        epochs = recipe.epochs - first_epoch
        batches = train_dataset(*train, augment=augment, epochs=epochs, **settings)
        if not len(val[0]):
            return batches, None
        return batches, eval_dataset(*val, num_classes=classes, batch_size=VAL_BATCH)
    from kerasresnet.data.arrays import ArrayBatches

    targets = np.eye(classes, dtype="float32")[val[1]]
    return ArrayBatches(*train, **settings), (val[0], targets) if len(val[0]) else None


def _restore(model: keras.Model, run: Run) -> int:
    """Load the run's newest state into the compiled model; returns the epochs behind it."""
    state = run.last_state()
    if state is None:
        return 0
    epoch, path = state
    # The optimizer's variables must exist before its weights load, or they stay untouched.
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return epoch


def measure_kept_model(run: Run, data: ImageData) -> dict[str, Any]:
    """Metrics of the run's kept model on the test set, in float32 as it will be served."""
    import keras

    from kerasresnet.evaluate import measure

    model = keras.saving.load_model(run.model_path, compile=False)
    return measure(model.predict_on_batch, data.x_test, data.y_test, data.labels)


def start(options: FitOptions) -> tuple[Run, Recipe, ImageData, int]:
    """Load the data, check everything, and make (or open) the run directory."""
    from kerasresnet.data import load_data
    from kerasresnet.device import describe_device, resolve_precision

    if options.resume:
        run = Run.open(options.resume)
        if run.results_path.is_file():
            raise UsageError(f"{run.path} has finished already: see {run.results_path}")
        facts = run.facts
        data = load_data(facts["data"], options.data_dir)
        with run.locked():
            run.update(status="running", error=None, versions=versions(), device=describe_device())
        recipe = run.recipe.replace(precision=facts["precision"])
        return run, recipe, data, facts["seed"]
    recipe = options.training
    check_budget(recipe.spec, recipe.max_params)
    if options.run_dir and options.run_dir.exists():
        raise taken(options.run_dir)
    data = load_data(options.data, options.data_dir)
    check_fits(recipe, data)
    facts = {
        "name": recipe.name,
        "data": data.name,
        "source": data.source,
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
            f"  python -m kerasresnet.fit --resume {run.path}",
            file=sys.stderr,
        )
        sys.exit(130)
    except BaseException as error:
        run.update(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    test = results["test"]
    print(
        f"test accuracy {test['accuracy']:.2%}, loss {test['loss']:.4f}, "
        f"trained in {results['train_seconds'] / 60:.1f} min: {run.results_path}"
    )
    if options.export and keras.backend.backend() != "tensorflow":
        print(
            f"not exported: that needs KERAS_BACKEND=tensorflow, then kerasresnet.export {run.path}"
        )
    elif options.export:
        from kerasresnet.export import export_saved_model

        print(f"exported to {export_saved_model(run, options.export_dir)}")


def main() -> None:
    with exit_on_error("kerasresnet.fit"):
        options = parse_fit_options()
        quiet_tensorflow(options.verbose)
        fit_command(options)


if __name__ == "__main__":
    main()
