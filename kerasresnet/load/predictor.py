"""A run, a .keras file or an export, loaded as a function from images to logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.load.runtimes import SAVED_MODEL, load_format, newest_version
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras

Predictor = Callable[[np.ndarray], np.ndarray]


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
    if is_keras:
        return _keras_predictor(path)
    try:
        return _saved_model_predictor(path)
    except Exception as error:  # whatever a damaged file makes TensorFlow raise
        raise KerasResNetError(f"cannot load {path}: {first_line(error)}") from None


def load_keras(path: Path) -> keras.Model:
    """The model of a .keras file. Raises `KerasResNetError` where it does not load."""
    import keras

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever a damaged file makes Keras raise
        raise KerasResNetError(f"cannot load {path}: {first_line(error)}") from None


def _keras_predictor(path: Path) -> tuple[Predictor, tuple[int, ...], int]:
    model = load_keras(path)
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
