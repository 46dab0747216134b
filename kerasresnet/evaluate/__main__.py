"""Measure a trained network on the test set.

python -m kerasresnet.evaluate runs/20260131-101500-quick
python -m kerasresnet.evaluate runs/20260131-101500-quick/model.keras
python -m kerasresnet.evaluate saved_models/quick --json
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from kerasresnet.command import parse
from kerasresnet.data.options import DataOptions
from kerasresnet.errors import UsageError, exit_on_error
from kerasresnet.evaluate.measure import measure, measure_with_tta
from kerasresnet.load.predictor import load_predictor
from kerasresnet.load.runtimes import newest_version, read_card
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.run import Run

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
    json: bool = False
    """Print JSON instead of a table."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def evaluate_path(options: EvaluateOptions) -> dict[str, Any]:
    """The metrics of what stands at `options.path`, with where they come from."""
    predictor, shape, classes = load_predictor(options.path)
    data = _data(options, shape)
    if tuple(shape) != tuple(data.image_shape) or classes != data.num_classes:
        raise UsageError(
            f"{options.path} takes images of {shape} in {classes} classes, and {data.name} has "
            f"{tuple(data.image_shape)} in {data.num_classes}; choose another --data"
        )
    labels_of = getattr(predictor, "labels_of", lambda images: set())
    if strange := labels_of(data.x_test[:100]) - set(data.labels):
        raise UsageError(
            f"{options.path} tells {', '.join(sorted(strange))} apart, which {data.name} does not "
            "have; choose another --data"
        )
    measured = measure_with_tta if options.tta == "flip" else measure
    metrics = measured(predictor, data.x_test, data.y_test, data.labels)
    return {"path": str(options.path), "data": data.name, "source": data.source, **metrics}


def _data(options: EvaluateOptions, shape: tuple[int, ...]) -> ImageData:
    """The images asked for, else those that the model was trained on."""
    from kerasresnet.data import load_again

    talk = {"verbose": not options.json}
    if options.data:
        return options.request().for_input(shape).load(options.data_dir, **talk)
    return load_again(_facts_of(options.path), options.data_dir, **talk)


def _facts_of(path: Path) -> dict[str, Any]:
    """What the run that `path` is or lies in says of its data, or its card; else cifar10."""
    for folder in (path, path.parent):
        if (folder / "run.json").is_file():
            facts = Run.open(folder).facts
            if "data" not in facts:
                raise UsageError(f"{folder} does not say its data (a search's trial?); add --data")
            return facts
    card = {} if path.suffix == ".keras" else read_card(newest_version(path))
    return card if card.get("data") else {"data": "cifar10"}


def print_metrics(metrics: dict[str, Any]) -> None:
    """The metrics as a table for humans."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{metrics['path']} on {metrics['data']}"), title_justify="left")
    table.add_column("class")
    table.add_column("accuracy", justify="right")
    for name, accuracy in metrics["per_class"].items():
        table.add_row(escape(name), f"{accuracy:.2%}")
    table.add_section()
    table.add_row(f"all {metrics['images']:,}", f"{metrics['accuracy']:.2%}")
    for name, averaged in metrics.get("tta", {}).items():
        table.add_row(f"with --tta {name}", f"{averaged['accuracy']:.2%}")
    console = Console()
    console.print(table)
    console.print(f"loss {metrics['loss']:.4f}")
    confused = (f"{w['true']} as {w['predicted']} {w['count']}" for w in metrics["top_confusions"])
    console.print(escape("top confusions: " + ", ".join(confused)))


def main() -> None:
    with exit_on_error("kerasresnet.evaluate"):
        options = parse(EvaluateOptions, None, prog="python -m kerasresnet.evaluate")
        if not options.path.exists():
            raise UsageError(f"{options.path} does not exist")
        if options.data:
            options.request()  # a mistake shows before TensorFlow starts
        quiet_tensorflow(options.verbose)
        metrics = evaluate_path(options)
        print(json.dumps(metrics, indent=1)) if options.json else print_metrics(metrics)


if __name__ == "__main__":
    main()
