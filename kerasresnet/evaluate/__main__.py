"""Measure a trained network on the test set.

python -m kerasresnet.evaluate runs/20260131-101500-quick
python -m kerasresnet.evaluate runs/20260131-101500-quick/model.keras
python -m kerasresnet.evaluate saved_models/quick --json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kerasresnet.command import exit_on_error, parse, waiting_for
from kerasresnet.data.options import DataOptions
from kerasresnet.errors import UsageError
from kerasresnet.evaluate.measure import measure, measure_with_tta
from kerasresnet.load.predictor import Predictor, load_predictor
from kerasresnet.machine import quiet_tensorflow

if TYPE_CHECKING:
    from kerasresnet.data import ImageData


@dataclass(frozen=True)
class EvaluateOptions(DataOptions):
    """Accuracy, loss, per-class accuracy and top confusions on the test set."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """A run directory, a .keras file, or an export (saved_models/quick: its newest version)."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH|tfds:NAME")] = field(
        default=None, kw_only=True
    )
    """A data set as kerasresnet.fit takes it (default: what the model was trained on, as far as it
    says; else cifar10)."""
    tta: Literal["none", "flip"] = "none"
    """flip: measure the mean over every image and its mirror image beside the plain network."""
    trust: bool = False
    """Load a stranger's file although it could reach files of yours, or take all memory."""
    json: bool = False
    """Print JSON instead of a table."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: EvaluateOptions) -> None:
    """Raise `UsageError` for what can be refused before anything is loaded."""
    if not options.path.exists():
        raise UsageError(f"{options.path} does not exist; give a run, an export or a .keras file")
    if options.data:
        options.request()
        return
    plain = EvaluateOptions(options.path)
    for name in ("image_size", "on_bad_image", "split_seed"):
        if getattr(options, name) != getattr(plain, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for images of --data: without that they are those "
                "that the model was trained on, as it took them; add --data, or leave it out"
            )


def evaluate_path(options: EvaluateOptions) -> dict[str, Any]:
    """The metrics of what stands at `options.path`, with where they come from."""
    predictor = load_predictor(options.path, trust=options.trust)
    data = _data(options, predictor)
    if predictor.class_names is None:  # a .keras file far from its run
        told = f"{options.path} names no classes: taken are those of {data.name}"
        print(f"kerasresnet.evaluate: {told}", file=sys.stderr)
    return evaluate_predictor(predictor, data, options.path, tta=options.tta == "flip")


def evaluate_predictor(
    predictor: Predictor, data: ImageData, path: Path, *, tta: bool = False
) -> dict[str, Any]:
    """The metrics of what was loaded from `path`, on the test images of `data`.

    With `tta`, of the mean over every image and its mirror image too. Raises `UsageError` where
    images or classes are not those of the network.
    """
    check_classes(predictor, data, path)
    measured = measure_with_tta if tta else measure
    most = min(500, predictor.most or 500)
    metrics = measured(predictor, data.x_test, data.y_test, data.class_names, batch_size=most)
    return {"path": str(path), "data": data.name, "source": data.source, **metrics}


def _data(options: EvaluateOptions, predictor: Predictor) -> ImageData:
    """The images asked for, else those that the model was trained on."""
    from kerasresnet.data import load_again

    where = {"data_dir": options.data_dir, "verbose": not options.json}
    if options.data:
        return options.request().for_input(predictor.input_shape).load(**where)
    return load_again(predictor.data or "cifar10", predictor.data_settings, **where)


def check_classes(predictor: Predictor, data: ImageData, path: Path) -> None:
    """Raises `UsageError` where images or classes of `data` are not those of the network."""
    shape, classes = tuple(predictor.input_shape), predictor.classes
    if shape != tuple(data.image_shape) or classes != data.num_classes:
        raise UsageError(
            f"{path} takes images of {shape} in {classes} classes, and {data.name} has "
            f"{tuple(data.image_shape)} in {data.num_classes}; choose another --data"
        )
    names = predictor.class_names or tuple(data.class_names)
    if strange := [name for name in names if name not in data.class_names]:
        raise UsageError(
            f"{path} tells {', '.join(strange)} apart, which {data.name} does not have; choose "
            "another --data"
        )
    if names != tuple(data.class_names):
        raise UsageError(
            f"{path} has the classes of {data.name} in another order: {', '.join(names)}; it was "
            "trained on another set"
        )


def print_metrics(metrics: dict[str, Any]) -> None:
    """The metrics as a table for humans."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    table.add_column("class")
    table.add_column("accuracy", justify="right")
    for name, accuracy in metrics["per_class"].items():
        table.add_row(escape(name), f"{accuracy:.2%}")
    table.add_section()
    table.add_row(f"all {metrics['images']:,}", f"{metrics['accuracy']:.2%}")
    for name, averaged in metrics.get("tta", {}).items():
        table.add_row(f"with --tta {name}", f"{averaged['accuracy']:.2%}")
    console = Console()
    # No title of the table: that would break paths at the width of the columns.
    console.print(escape(f"{metrics['path']} on {metrics['data']}"), soft_wrap=True)
    console.print(table)
    console.print(f"loss {metrics['loss']:.4f}")
    confused = (f"{w['true']} as {w['predicted']} {w['count']}" for w in metrics["top_confusions"])
    console.print(escape("top confusions: " + ", ".join(confused)))


def main() -> None:
    with exit_on_error("kerasresnet.evaluate"):
        options = parse(EvaluateOptions, None, prog="python -m kerasresnet.evaluate")
        check_options(options)
        with waiting_for("TensorFlow to start"):
            quiet_tensorflow(options.verbose)
        metrics = evaluate_path(options)
        print(json.dumps(metrics, indent=1)) if options.json else print_metrics(metrics)


if __name__ == "__main__":
    main()
