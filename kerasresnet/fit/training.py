"""A training from its beginning to its end: data, run, epochs, test, export."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasresnet.disk import NoRoom, check_writable
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.fit.log import logged
from kerasresnet.fit.options import FitOptions
from kerasresnet.fit.plan import divided, prepare, print_plan, tell_oddities
from kerasresnet.fit.strategy import Strategy
from kerasresnet.network.budget import check_budget
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run, versions

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData
    from kerasresnet.fit.epochs import Part


def train_run(
    run: Run,
    recipe: Recipe,
    data: ImageData | None,
    *,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
    strategy: Strategy = "single",
) -> dict[str, Any]:
    """Do what is missing of `run`: train what `recipe` says on `data`, measure it, draw it.

    Training goes on from the last finished epoch, if there is one. Validation is a stratified slice
    of the training images; the test set is read once, after the last epoch. `data` may be None
    where all is measured; `callbacks` join those of a run, `strategy` says which devices share each
    batch, and without `verbose` nothing is printed. Returns what results.json says. Raises
    `UsageError` where data and spec do not fit together, `KerasResNetError` where the loss becomes
    NaN.
    """
    with run.locked():
        run.remove_leftovers()
        stages = run.stages
        if not (stages["trained"] and stages["measured"]):
            how = {"verbose": verbose, "strategy": strategy}
            _train_and_measure(run, recipe, data, seed, callbacks, **how)
        if not stages["drawn"]:
            _draw(run)
        run.update(status="finished", error=None)
        return run.results


def _train_and_measure(
    run: Run,
    recipe: Recipe,
    data: ImageData,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback],
    **how: Any,
) -> None:
    import keras

    from kerasresnet.fit.epochs import train_epochs

    check_budget(recipe.spec, recipe.max_params)
    train, val, statistics = divided(recipe, data, seed)
    if keras.backend.backend() == "tensorflow":
        board = keras.callbacks.TensorBoard(run.path / "tensorboard", write_graph=False)
        callbacks = [board, *callbacks]
    settings = {"seed": seed, "statistics": statistics, "callbacks": callbacks}
    train_epochs(run, recipe, train, val, **settings, **how)
    run.write_results(
        {
            **run.facts,
            "status": "finished",
            "seed": seed,
            "recipe": recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()},
            "images": {"train": len(train[0]), "val": len(val[0]), "test": len(data.x_test)},
            "epochs": run.metrics,
            "train_seconds": round(sum(row["seconds"] for row in run.metrics), 1),
            "pflop": round(sum(recipe.pflop_by_epoch(len(train[0]))), 5),
            **measure_kept_model(run, data, val),
        }
    )


def _draw(run: Run) -> None:
    from kerasresnet.report.page import write_page
    from kerasresnet.report.pictures import draw_run

    draw_run(run.results, run.path)
    write_page(run)


def measure_kept_model(run: Run, data: ImageData, val: Part) -> dict[str, Any]:
    """What the run's kept model reaches on the test set, in float32 as it will be served.

    "test" has the metrics of the plain network, and under "tta" those of the mean over image and
    mirror image; "calibration" the temperature that fits the images of `val`, where they are
    enough. What the network answered is kept in the run, for its page.
    """
    from kerasresnet import machine
    from kerasresnet.evaluate.calibration import FEWEST, calibrate
    from kerasresnet.evaluate.measure import logits_on, measure_keeping_logits
    from kerasresnet.load.predictor import load_keras
    from kerasresnet.report.predictions import predictions_of

    model = load_keras(run.model_path)
    if machine.trains_by_halves(run.recipe.batch_size):  # then one core takes half of a batch
        from kerasresnet.network.fast import in_halves

        model = in_halves(model)
    metrics, logits = measure_keeping_logits(
        model.predict_on_batch, data.x_test, data.y_test, data.class_names
    )
    predictions_of(logits, data, run.recipe.augment).write(run)
    if len(val[0]) < FEWEST:
        return {"test": metrics}
    of_val = logits_on(model.predict_on_batch, val[0])
    return {"test": metrics, "calibration": calibrate(of_val, val[1], logits, data.y_test)}


def fit_command(options: FitOptions) -> None:
    """Plan, train, test, export; Ctrl-C says how to go on."""
    if options.export:  # else hours pass before that is told
        check_writable(options.export_dir, "export")
    if options.resume:
        run, data = Run.open(options.resume), None
    else:
        asked = {name: getattr(options, name) for name in ("run_dir", "data_dir", "strategy")}
        recipe, data, facts = prepare(options.training, options.request(), options.seed, **asked)
        if options.dry_run:
            where = f"{options.run_dir or f'runs/<time>-{recipe.name}'} (a dry run makes nothing)"
            print_plan(recipe, data, facts, run=where, export=options.export_to)
            tell_oddities(recipe, data)
            return
        if options.run_dir:
            run = Run.create(options.run_dir, recipe, facts)
        else:
            run = Run.create_under(Path("runs"), recipe, facts)
    with run.locked():  # all of the time: what another process trains is not written to
        _go_on(run, options, data)


def _go_on(run: Run, options: FitOptions, data: ImageData | None) -> None:
    """Do what `run` has not done yet of what `options` ask for; `data` is None at a resume."""
    from kerasresnet.data import load_again
    from kerasresnet.evaluate.measure import why_dead
    from kerasresnet.machine import describe_device

    stages = run.stages
    missing = [name for name, done in stages.items() if not done]
    if not options.export and "exported" in missing:
        missing.remove("exported")
    if not missing:
        raise already_finished(run)
    recipe = run.recipe.replace(precision=run.fact("precision"))
    to_train = not (stages["trained"] and stages["measured"])
    if to_train:
        if data is None:
            data = load_again(run.fact("data"), run.facts.get("data_settings"), options.data_dir)
        if options.resume:
            run.update(status="running", error=None, versions=versions(), device=describe_device())
        done = max((state.epoch for state in run.states()), default=0)
        where = {"run": str(run.path), "export": options.export_to}
        print_plan(recipe, data, run.facts, done=done, **where)
        if not options.resume:
            tell_oddities(recipe, data)
    try:
        with outcome_written(run):
            with logged(options.log if to_train else "none", run, recipe) as callbacks:
                how = {"strategy": options.strategy, "callbacks": callbacks}
                results = train_run(run, recipe, data, seed=run.fact("seed"), **how)
            dead = why_dead(results["test"])
            if to_train:
                tell(run, results, dead)
            if options.export and (options.force or not dead):
                export_run(run, options)
    except KeyboardInterrupt:
        _stopped(run, recipe, options)
    except BaseException as error:
        if full := _full_disk(run, error, options):
            raise full from None
        raise
    if options.export and dead and not options.force:
        raise KerasResNetError(
            f"not exported, for the network learnt nothing: {dead}; python -m kerasresnet.export "
            f"{run.path} --force does it all the same"
        )


@contextlib.contextmanager
def outcome_written(run: Run) -> Iterator[None]:
    """Whatever ends a training stands in its run.json: interrupted, failed, or only its export."""
    try:
        yield
    except KeyboardInterrupt:
        run.update(status="interrupted")
        raise
    except BaseException as error:
        # What is measured stays finished, whatever happens to its export.
        status = "finished" if run.results_path.is_file() else "failed"
        with contextlib.suppress(KerasResNetError):  # the disk may be full
            run.update(status=status, error=f"{type(error).__name__}: {first_line(error)}")
        raise


def _go_on_line(run: Run, options: FitOptions) -> str:
    """What to type to go on with `run`, its images found where they were."""
    where = ["--data-dir", str(options.data_dir)] if options.data_dir else []
    where += [] if options.strategy == "single" else ["--strategy", options.strategy]
    return shlex.join(["python", "-m", "kerasresnet.fit", "--resume", str(run.path), *where])


def _full_disk(run: Run, error: BaseException, options: FitOptions) -> NoRoom | None:
    """`error` with what to type once there is room, if a full disk is what it is."""
    if isinstance(error, NoRoom):
        told = str(error)
    elif os.strerror(errno.ENOSPC) in str(error):  # TensorBoard's writer is TensorFlow's
        told = f"the disk is full: there is no room for all of {run.path}; free some"
    else:
        return None
    return NoRoom(f"{told}, then go on with {_go_on_line(run, options)}")


def _stopped(run: Run, recipe: Recipe, options: FitOptions) -> None:
    print(
        f"\nstopped after {len(run.metrics)} of {recipe.epochs} epochs; go on with\n"
        f"  {_go_on_line(run, options)}",
        file=sys.stderr,
    )
    sys.exit(130)


def already_finished(run: Run) -> UsageError:
    """The error for a run of which nothing is missing."""
    exported = run.facts.get("exported")
    where = f", exported to {exported}" if exported else ""
    return UsageError(
        f"{run.path} has finished already: see {run.results_path}{where}; "
        f"python -m kerasresnet.export {run.path} makes another export"
    )


def tell(run: Run, results: dict[str, Any], dead: str | None) -> None:
    """One line of what was reached, and one more, loud, where nothing was learnt."""
    test = results["test"]
    print(
        f"test accuracy {test['accuracy']:.2%}, loss {test['loss']:.4f}, with the mirror image "
        f"{test['tta']['flip']['accuracy']:.2%}, "
        f"trained in {results['train_seconds'] / 60:.1f} min: {run.results_path}"
    )
    if dead:
        print(
            f"kerasresnet.fit: WARNING: the network learnt nothing: {dead}; try a lower "
            "--learning-rate, a longer --warmup-epochs, or look at the images and their labels",
            file=sys.stderr,
        )


def export_run(run: Run, options: FitOptions) -> None:
    """Export the run, and write down where."""
    import keras

    if keras.backend.backend() != "tensorflow":
        print(
            f"not exported: that needs KERAS_BACKEND=tensorflow, then kerasresnet.export {run.path}"
        )
        return
    from kerasresnet.export.saved_model import export_saved_model, find_saved_model

    # Killed when it had published, a run does not know where: no second version of the same.
    version = find_saved_model(run, options.export_dir) if options.resume else None
    version = version or export_saved_model(run, options.export_dir)
    run.update(exported=str(version.resolve()))
    print(f"exported to {version}")
