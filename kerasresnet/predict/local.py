"""Models of this machine: SavedModels through their signatures, other exports through their
runtimes, runs and .keras files through Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.predictor import load_predictor
from kerasresnet.load.runtimes import SAVED_MODEL, newest_version, read_class_names
from kerasresnet.load.trust import refuse_file_operations
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.predict.interface import (
    BYTES,
    BYTES_INPUT,
    PIXELS,
    PIXELS_INPUT,
    Answer,
    Refused,
    Target,
    read_signatures,
    reason_in,
)


def open_local(path: Path, verbose: bool = False, *, trust: bool = False) -> Target:
    """Load a version of an export, the newest of a model's directory, a run or a .keras file.

    With `trust` also what could do more than answer. Raises `UsageError` for anything else,
    `KerasResNetError` for what does not load.
    """
    if not path.exists():
        raise UsageError(
            f"{path} does not exist; give an export (saved_models/quick), a run, a .keras file, or "
            "a server (http://localhost:8501/v1/models/quick)"
        )
    if (path / "run.json").is_file() or (path.suffix == ".keras" and path.is_file()):
        quiet_tensorflow(verbose)
        return LoadedModel(path, trust)
    version = newest_version(path)
    if not (version / SAVED_MODEL).is_file():
        return LoadedModel(version)
    quiet_tensorflow(verbose)
    return SavedModel(version, trust)


class SavedModel:
    """A version directory of an export, called through its signatures."""

    def __init__(self, path: Path, trust: bool = False) -> None:
        import tensorflow as tf

        self.name = str(path)
        if not trust:
            refuse_file_operations(path)
        try:
            # The signatures live no longer than what was loaded.
            self._loaded = tf.saved_model.load(str(path))
            self._signatures = dict(self._loaded.signatures)
            inputs = {
                name: {
                    key: tuple(spec.shape.as_list())
                    for key, spec in signature.structured_input_signature[1].items()
                }
                for name, signature in self._signatures.items()
            }
        except Exception as error:  # whatever a damaged file makes TensorFlow raise
            raise KerasResNetError(f"cannot load {path}: {reason_in(str(error))}") from None
        self.image_shape, self.takes_bytes = read_signatures(self.name, inputs)
        self.class_names = read_class_names(path / "assets")

    def predict(self, images: np.ndarray | list[bytes]) -> Answer:
        import tensorflow as tf

        of_bytes = isinstance(images, list)
        signature = self._signatures[BYTES if of_bytes else PIXELS]
        try:
            answer = signature(**{BYTES_INPUT if of_bytes else PIXELS_INPUT: tf.constant(images)})
        except tf.errors.OpError as error:
            raise Refused(reason_in(error.message)) from None
        if "probabilities" not in answer:
            raise KerasResNetError(f"{self.name} answers, but without probabilities")
        names = answer.get("label")
        if names is not None:
            names = [name.decode() for name in names.numpy()]
        return Answer(answer["probabilities"].numpy(), names)


class LoadedModel:
    """A run's model, a .keras file, or a version of an export in another format (which needs no
    TensorFlow); classes have the names that are said beside it, else their numbers."""

    takes_bytes = False

    def __init__(self, path: Path, trust: bool = False) -> None:
        self.name = str(path)
        self._logits_of = load_predictor(path, trust=trust)
        shape = self._logits_of.input_shape
        if len(shape) != 3:
            raise KerasResNetError(
                f"{path} takes arrays of shape {shape}, and not images [H, W, C]"
            )
        self.image_shape = shape
        self.class_names = self._logits_of.class_names or [
            str(i) for i in range(self._logits_of.classes)
        ]

    def predict(self, images: np.ndarray | list[bytes]) -> Answer:
        from scipy.special import softmax

        return Answer(softmax(self._logits_of(images).astype(np.float64), axis=1))
