"""python -m kerasresnet.export RUN_DIR: a trained run as a file that others serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kerasresnet.command import exit_on_error, parse, waiting_for
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.run import Run

if TYPE_CHECKING:
    from kerasresnet.data import ImageData


@dataclass(frozen=True)
class ExportOptions:
    """Export a run as a SavedModel for TF Serving, or for ONNX, LiteRT, OpenVINO."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """The run, as kerasresnet.fit made it."""
    export_dir: Path = Path("saved_models")
    """Where it goes: <export-dir>/<name>/<version>/; another format to <name>-<format>/."""
    name: str | None = None
    """What the model is called (default: the run's name)."""
    version: int | None = None
    """The version (default: one more than the highest there)."""
    format: Literal["saved_model", "onnx", "litert", "litert-int8", "openvino"] = "saved_model"
    """The others need pip install "kerasresnet[onnx]", [litert] or [openvino]."""
    freeze: bool = False
    """saved_model: variables as constants of the graph, which a server runs faster."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """saved_model: bfloat16 computes in it, frozen: for processors that multiply it."""
    tta: Literal["none", "flip"] = "none"
    """saved_model: flip answers with the mean over the image and its mirror image: as many
    parameters, twice the work."""
    max_batch: int = 1024
    """saved_model: a request of more images is refused, in every signature."""
    calibrate: bool = True
    """Answer as surely as is right, by the temperature that the run fitted on validation images."""
    measure: bool = False
    """saved_model: measure export and Keras model on the whole test set, for the model card."""
    force: bool = False
    """Export a network that learnt nothing as well."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: ExportOptions) -> None:
    """Raise `UsageError` for what can be refused before anything is loaded."""
    if options.version is not None and options.version < 1:
        raise UsageError(f"a version is 1 or more, received {options.version}")
    if options.max_batch < 1:
        raise UsageError(f"--max-batch is 1 or more, received {options.max_batch}")
    if options.format == "saved_model":
        return
    for flag, given, instead in (
        ("--freeze", options.freeze, "its weights are constants anyway"),
        ("--precision", options.precision != "float32", "its file is in float32 or int8"),
        ("--max-batch", options.max_batch != 1024, "its runtime takes as many as memory holds"),
        ("--tta", options.tta != "none", "its file holds the network alone"),
        ("--measure", options.measure, "python -m kerasresnet.evaluate measures what was written"),
    ):
        if given:
            raise UsageError(f"{flag} is not for --format {options.format}: {instead}")


def export(options: ExportOptions) -> Path:
    """Do what `options` say; returns what was written."""
    from kerasresnet.export import export_saved_model

    run = Run.open(options.run_dir)
    if options.format != "saved_model":
        return _other_format(run, options)
    data = _data(run, options) if options.measure else None
    return export_saved_model(
        run,
        options.export_dir,
        name=options.name,
        version=options.version,
        freeze=options.freeze,
        precision=options.precision,
        tta=None if options.tta == "none" else options.tta,
        max_batch=options.max_batch,
        calibrated=options.calibrate,
        measure_on=data,
    )


def refuse_dead(run: Run) -> None:
    """Raise `KerasResNetError` where the network learnt nothing, by the run's own results."""
    from kerasresnet.evaluate.measure import why_dead

    if reason := why_dead(run.results["test"]):
        raise KerasResNetError(
            f"the network of {run.path} learnt nothing: {reason}; --force exports it all the same"
        )


def _data(run: Run, options: ExportOptions) -> ImageData:
    """The images that the run was trained on."""
    from kerasresnet.data import load_again

    return load_again(run.fact("data"), run.facts.get("data_settings"), options.data_dir)


def _other_format(run: Run, options: ExportOptions) -> Path:
    from kerasresnet.export.card import model_card
    from kerasresnet.export.fold import fold_batch_norm
    from kerasresnet.export.formats import export_format
    from kerasresnet.export.saved_model import resolve, set_temperature
    from kerasresnet.load.runtimes import require

    require(options.format)
    _, model, name, class_names = resolve(run, options.name)
    settings: dict[str, Any] = {"format": options.format}
    if options.calibrate and (temperature := set_temperature(run, model)):
        settings["temperature"] = round(temperature, 4)
    data = _data(run, options)
    return export_format(
        fold_batch_norm(model),
        options.format,
        # Never under the name itself: a server that watches it would take this for a version.
        options.export_dir / f"{name}-{options.format}",
        class_names=class_names,
        calibration=data.x_train,
        version=options.version,
        card=model_card(run, class_names, settings),
    )


def main() -> None:
    with exit_on_error("kerasresnet.export"):
        options = parse(ExportOptions, None, prog="python -m kerasresnet.export")
        run = Run.open(options.run_dir)
        check_options(options)
        if run.results_path.is_file() and not options.force:
            refuse_dead(run)
        with waiting_for("TensorFlow to start"):
            quiet_tensorflow(options.verbose)
        print(export(options))


if __name__ == "__main__":
    main()
