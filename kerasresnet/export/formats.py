"""The formats of other runtimes: ONNX, LiteRT in float32 and int8, OpenVINO.

Each is a directory of one model and `labels.txt`, a class a line in the order of the outputs:

    model.onnx   or   model.tflite   or   model.xml and model.bin

Each takes `images`, uint8 [N, H, W, C], any N, and gives `probabilities`, float32 [N, classes],
like the SavedModel's. Keras' own exporters write them; `kerasresnet.export.int8` quantises.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError, first_line, unknown
from kerasresnet.export.card import write_card
from kerasresnet.export.publish import aside, publish, refuse_taken
from kerasresnet.load.runtimes import (
    CLASS_NAMES,
    FORMATS,
    Format,
    load_format,
    require,
    require_images,
    silence,
)

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-4  # of a probability, between the Keras model and a float32 file
LOSS = 0.01  # of accuracy through int8, as far as the Keras model's own probabilities say
CALIBRATION = 1024  # images that are used of those given; half of them set the ranges of int8
MIN_CALIBRATION = 32  # fewer say too little of what range each activation takes
BATCH = 64  # images that the checks and the calibration take at once


def export_format(
    model: keras.Model,
    format: str,
    home: Path,
    *,
    class_names: Sequence[str],
    calibration: np.ndarray | None = None,
    version: int | None = None,
    card: dict[str, Any] | None = None,
) -> Path:
    """Write `model` in one of `FORMATS` to the new directory `home`/`version`; returns its file.

    `model` maps uint8 images to logits; fold its batch norms first. `class_names` name its classes.
    `calibration` is uint8 [K, H, W, C], training images. At most 1,024, evenly spaced, are used:
    the written file is compared with `model` on them (without any, on random pixels), and
    "litert-int8" sets its ranges by every other one and is compared on the rest. `version` is by
    default one more than the highest; the directory is written aside and renamed, whole or not at
    all. With a `card` (`kerasresnet.export.card`) that is written beside the model.
    Raises `UsageError` for what cannot be exported so, or where the version exists or a library is
    missing; `KerasResNetError` where writing fails or the file differs from the model.
    """
    _refuse_mistakes(model, format, class_names, calibration)
    refuse_taken(home, version)
    chosen = FORMATS[format]
    images, ranges = _real_images(model, calibration), None
    if format == "litert-int8":
        images, ranges = images[1::2], images[::2]
    with aside(home) as folder:
        try:
            with silence():
                _write(model, chosen, folder, ranges)
        except OSError:
            raise
        except Exception as error:  # whatever a converter of somebody else's raises
            raise KerasResNetError(f"cannot convert to {format}: {first_line(error)}") from error
        (folder / CLASS_NAMES).write_text("".join(f"{name}\n" for name in class_names), "utf-8")
        _check(model, format, folder / chosen.file, images)
        if card:
            write_card(card, folder)
        return publish(folder, home, version) / chosen.file


def _refuse_mistakes(
    model: keras.Model,
    format: str,
    class_names: Sequence[str],
    calibration: np.ndarray | None,
) -> None:
    import keras

    if format not in FORMATS:
        raise UsageError(unknown("format", format, FORMATS))
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"{format} is written by the tensorflow backend, and this is "
            f"{keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    if len(class_names) != model.output_shape[-1]:
        raise UsageError(
            f"the model has {model.output_shape[-1]} classes, and "
            f"{len(class_names)} names were given"
        )
    shape = tuple(model.input_shape[1:])
    if calibration is None and format == "litert-int8":
        raise UsageError(
            "litert-int8 needs training images to set its ranges by: pass calibration=, "
            f"uint8 [K, {', '.join(map(str, shape))}]"
        )
    if calibration is not None:
        require_images(calibration, shape, "calibration")
        if format == "litert-int8" and len(calibration) < MIN_CALIBRATION:
            raise UsageError(
                f"litert-int8 needs {MIN_CALIBRATION} training images or more to set its ranges "
                f"by, received {len(calibration)}"
            )
    require(format)


def _write(model: keras.Model, chosen: Format, folder: Path, ranges: np.ndarray | None) -> None:
    import tensorflow as tf

    images = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")
    path = folder / chosen.file
    servable(model).export(
        str(path), format=chosen.exporter, input_signature=[images], verbose=False
    )
    if ranges is not None:
        from kerasresnet.export.int8 import quantise

        path.write_bytes(quantise(path, ranges, batch_size=BATCH))


def servable(model: keras.Model) -> keras.Model:
    """A copy of `model` in float32 whose output is {"probabilities": softmax of the logits}.

    Its normalisation is a `Rescaling`, the same to 1e-6: Keras captures a `Normalization`'s
    means from outside the graph, and tf2onnx turns those into two more inputs to be fed.
    """
    import keras

    def float32(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.Normalization):
            scale = 1 / np.sqrt(keras.ops.convert_to_numpy(layer.variance).ravel())
            offset = -keras.ops.convert_to_numpy(layer.mean).ravel() * scale
            return keras.layers.Rescaling(
                scale.tolist(), offset.tolist(), dtype="float32", name="rescaling"
            )
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(model, clone_function=float32)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(copy.output)
    return keras.Model(copy.input, {"probabilities": probabilities}, name=model.name)


def _real_images(model: keras.Model, calibration: np.ndarray | None) -> np.ndarray:
    if calibration is not None and len(calibration):
        step = -(-len(calibration) // CALIBRATION)
        return calibration[::step]
    shape = (BATCH, *model.input_shape[1:])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _check(model: keras.Model, format: str, path: Path, images: np.ndarray) -> None:
    """Raises `KerasResNetError` unless the file at `path` gives what `model` gives."""
    run, starts = load_format(path), range(0, len(images), BATCH)
    served = np.concatenate([run(images[i : i + BATCH]) for i in starts])
    expected = _probabilities(model, [images[i : i + BATCH] for i in starts])
    if format == "litert-int8":
        # A class that the model finds nearly as likely as its own is no loss.
        taken = np.take_along_axis(expected, served.argmax(axis=1)[:, None], axis=1)
        loss = float((expected.max(axis=1) - taken[:, 0]).mean())
        if not loss <= LOSS:
            raise KerasResNetError(
                f"by the float32 model's probabilities, int8 costs {100 * loss:.1f} points of "
                f"accuracy on {len(images)} images, more than {100 * LOSS:g}; nothing was written"
            )
        return
    difference = float(np.abs(served - expected).max())
    # Written so that NaN fails.
    if not difference <= TOLERANCE:
        raise KerasResNetError(
            f"the {format} file differs from the model by {difference:g} in a probability, more "
            f"than {TOLERANCE:g}; nothing was written"
        )


def _probabilities(model: keras.Model, batches: list[np.ndarray]) -> np.ndarray:
    """What `model` gives; in float32, even where it was trained in mixed precision."""
    import keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        given = [keras.ops.softmax(model(batch, training=False)) for batch in batches]
    else:
        copy = servable(model)
        given = [copy(batch, training=False)["probabilities"] for batch in batches]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in given])
