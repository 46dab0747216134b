"""A run, a .keras file or an export, loaded as one thing: a function from images to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.load.limits import check_keras_file
from kerasresnet.load.runtimes import (
    SAVED_MODEL,
    load_format,
    newest_version,
    read_card,
    read_class_names,
)
from kerasresnet.load.trust import refuse_file_operations
from kerasresnet.run import Run

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Predictor:
    """A trained network: call it with uint8 images [N, H, W, C] for logits [N, classes].

    Exports give logarithms of probabilities, which are logits as well. `class_names`, and `data`
    with `data_settings` (the images that it was trained on), are None where nothing beside the
    network says them, and `most` is the images of one call where they are limited.
    """

    logits: Callable[[np.ndarray], Any]
    input_shape: tuple[int, ...]  # H, W, C
    classes: int
    class_names: tuple[str, ...] | None = None
    data: str | None = None
    data_settings: Mapping[str, Any] | None = None
    most: int | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.logits(images))


def load_predictor(path: Path, *, trust: bool = False) -> Predictor:
    """The predictor of a run, a .keras file or an export; of an export's directory its newest.

    What a stranger's file could do beyond answering (`limits`, `trust`) is refused unless `trust`.
    Raises `UsageError` for that and for anything else, `KerasResNetError` for a file that does not
    load.
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
        return _keras_predictor(path, trust)
    try:
        return _saved_model_predictor(path, trust)
    except KerasResNetError:
        raise
    except Exception as error:  # whatever a damaged file makes TensorFlow raise
        raise KerasResNetError(f"cannot load {path}: {first_line(error)}") from None


def load_keras(path: Path, *, trust: bool = False) -> keras.Model:
    """The model of a .keras file.

    Raises `UsageError` for one that would take much more memory than its size says, unless `trust`;
    `KerasResNetError` for one that does not load.
    """
    import keras

    try:
        if not trust:
            check_keras_file(path)
        return keras.saving.load_model(path, compile=False)
    except KerasResNetError:
        raise
    except Exception as error:  # whatever a damaged file makes Keras raise
        raise KerasResNetError(f"cannot load {path}: {first_line(error)}") from None


def _keras_predictor(path: Path, trust: bool) -> Predictor:
    model = load_keras(path, trust=trust)
    facts = Run.open(path.parent).facts if (path.parent / "run.json").is_file() else {}
    return Predictor(
        model.predict_on_batch,
        tuple(model.input_shape[1:]),
        model.output_shape[-1],
        tuple(facts["labels"]) if facts.get("labels") else None,
        facts.get("data"),
        facts.get("data_settings"),
    )


def _saved_model_predictor(path: Path, trust: bool) -> Predictor:
    import tensorflow as tf

    if not trust:
        refuse_file_operations(path)
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    shape = serve.structured_input_signature[1]["images"].shape

    def log_probabilities(images: np.ndarray) -> np.ndarray:
        # By way of `loaded`: its variables are gone as soon as nobody holds it.
        answer = loaded.signatures["serving_default"](images=tf.constant(images))
        return _logarithm(answer["probabilities"].numpy())

    return Predictor(
        log_probabilities,
        tuple(shape[1:]),
        serve.structured_outputs["probabilities"].shape[-1],
        read_class_names(path / "assets"),
        **_said(path),
    )


def _format_predictor(path: Path) -> Predictor:
    found = load_format(path)
    return Predictor(
        lambda images: _logarithm(found(images)),
        found.input_shape,
        len(found.class_names),
        found.class_names,
        **_said(path),
    )


def _said(version: Path) -> dict[str, Any]:
    """What an export's card says of its images, and the most of one request; None where nothing."""
    card = read_card(version)
    most = card.get("export", {}).get("max_batch")
    return {
        "data": card.get("data"),
        "data_settings": card.get("data_settings"),
        "most": most if isinstance(most, int) and most > 0 else None,
    }


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
