"""Measure a trained network on the test set.

python -m kerasresnet.evaluate runs/20260131-101500-quick
python -m kerasresnet.evaluate runs/20260131-101500-quick/model.keras
python -m kerasresnet.evaluate saved_models/quick --json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from kerasresnet.command import parse
from kerasresnet.errors import KerasResNetError, UsageError, exit_on_error, first_line
from kerasresnet.load.runtimes import SAVED_MODEL, load_format, newest_version, read_card
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.run import Run

if TYPE_CHECKING:
    from kerasresnet.data import ImageData

Predictor = Callable[[np.ndarray], np.ndarray]


def measure(
    logits_of: Predictor,
    images: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    batch_size: int = 500,
) -> dict[str, Any]:
    """Accuracy, cross-entropy, per-class accuracy, confusion matrix and top confusions.

    `logits_of` maps uint8 images [N, H, W, C] to logits or log-probabilities [N, classes];
    `labels` are integers [N], `names` those of the classes.
    """
    from scipy.special import log_softmax
    from sklearn.metrics import confusion_matrix

    batches = range(0, len(images), batch_size)
    logits = np.concatenate([np.asarray(logits_of(images[i : i + batch_size])) for i in batches])
    predicted = logits.argmax(axis=1)
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    confusion = confusion_matrix(labels, predicted, labels=range(len(names)))
    wrong = [
        {"true": names[t], "predicted": names[p], "count": int(confusion[t, p])}
        for t, p in zip(*np.nonzero(confusion), strict=True)
        if t != p
    ]
    return {
        "images": len(images),
        "accuracy": float((predicted == labels).mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "per_class": {
            name: float(confusion[i, i] / max(1, confusion[i].sum()))
            for i, name in enumerate(names)
        },
        "top_confusions": sorted(wrong, key=lambda w: -w["count"])[:5],
        "confusion": confusion.tolist(),
    }


def load_predictor(path: Path) -> tuple[Predictor, tuple[int, ...], int]:
    """(logits of images, input shape, classes) of a run, a .keras file or an export.

    Of an export's directory without a version the newest. Raises `UsageError` for anything else,
    `KerasResNetError` for a file that does not load.
    """
    if (path / "run.json").is_file():
        path = Run.open(path).model_path
        if not path.is_file():
            raise UsageError(f"{path.parent} holds no model yet: its first epoch is not finished")
    is_keras = path.suffix == ".keras" and path.is_file()
    if not is_keras:
        path = newest_version(path)
        if not (path / SAVED_MODEL).is_file():
            return _format_predictor(path)
    try:
        return _keras_predictor(path) if is_keras else _saved_model_predictor(path)
    except Exception as error:  # whatever a damaged file makes Keras or TensorFlow raise
        raise KerasResNetError(f"cannot load {path}: {first_line(error)}") from None


def _keras_predictor(path: Path) -> tuple[Predictor, tuple[int, ...], int]:
    import keras

    model = keras.saving.load_model(path, compile=False)
    return model.predict_on_batch, model.input_shape[1:], model.output_shape[-1]


def _saved_model_predictor(path: Path) -> tuple[Predictor, tuple[int, ...], int]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    shape = serve.structured_input_signature[1]["images"].shape

    def log_probabilities(images: np.ndarray) -> np.ndarray:
        return _logarithm(serve(images=tf.constant(images))["probabilities"].numpy())

    # The function must hold what was loaded, or its variables are gone.
    log_probabilities.loaded = loaded
    log_probabilities.labels_of = lambda images: {
        label.decode() for label in serve(images=tf.constant(images))["label"].numpy()
    }
    return log_probabilities, tuple(shape[1:]), serve.structured_outputs["probabilities"].shape[-1]


def _format_predictor(path: Path) -> tuple[Predictor, tuple[int, ...], int]:
    probabilities_of = load_format(path)

    def log_probabilities(images: np.ndarray) -> np.ndarray:
        return _logarithm(probabilities_of(images))

    log_probabilities.labels_of = lambda images: set(probabilities_of.labels)
    return log_probabilities, probabilities_of.input_shape, len(probabilities_of.labels)


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class EvaluateOptions:
    """Accuracy, loss, per-class accuracy and top confusions on the test set."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")]
    """A run directory, a .keras file, or an export (saved_models/quick: its newest version)."""
    data: Literal["cifar10", "digits"] | None = None
    """The data set (default: what the model was trained on, as far as it says; else cifar10)."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    json: bool = False
    """Print JSON instead of a table."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def evaluate_path(options: EvaluateOptions) -> dict[str, Any]:
    """The metrics of what stands at `options.path`, with where they come from."""
    from kerasresnet.data import load_data

    predictor, shape, classes = load_predictor(options.path)
    name = options.data or _data_of(options.path)
    data: ImageData = load_data(name, options.data_dir, verbose=not options.json)
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
    metrics = measure(predictor, data.x_test, data.y_test, data.labels)
    return {"path": str(options.path), "data": data.name, "source": data.source, **metrics}


def _data_of(path: Path) -> str:
    """The data set of the run that `path` is or lies in, or that its card names, else cifar10."""
    for folder in (path, path.parent):
        if (folder / "run.json").is_file():
            return Run.open(folder).facts["data"]
    card = {} if path.suffix == ".keras" else read_card(newest_version(path))
    return card.get("data") or "cifar10"


def print_metrics(metrics: dict[str, Any]) -> None:
    """The metrics as a table for humans."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{metrics['path']} on {metrics['data']}"), title_justify="left")
    table.add_column("class")
    table.add_column("accuracy", justify="right")
    for name, accuracy in metrics["per_class"].items():
        table.add_row(name, f"{accuracy:.2%}")
    table.add_section()
    table.add_row(f"all {metrics['images']:,}", f"{metrics['accuracy']:.2%}")
    console = Console()
    console.print(table)
    console.print(f"loss {metrics['loss']:.4f}")
    confused = (f"{w['true']} as {w['predicted']} {w['count']}" for w in metrics["top_confusions"])
    console.print("top confusions: " + ", ".join(confused))


def main() -> None:
    with exit_on_error("kerasresnet.evaluate"):
        options = parse(EvaluateOptions, None, prog="python -m kerasresnet.evaluate")
        if not options.path.exists():
            raise UsageError(f"{options.path} does not exist")
        quiet_tensorflow(options.verbose)
        metrics = evaluate_path(options)
        print(json.dumps(metrics, indent=1)) if options.json else print_metrics(metrics)


if __name__ == "__main__":
    main()
