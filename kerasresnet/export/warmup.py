"""The requests that a server answers for itself before it offers a model, so that nobody waits.

TF Serving replays `assets.extra/tf_serving_warmup_requests`, a TFRecord file of PredictionLog
messages (tensorflow_serving/apis/prediction_log.proto). A model that cannot answer them is not
offered at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

SIZES = (1, 8, 32)  # images in a request


def write_warmup(
    folder: Path, name: str, shape: tuple[int, int, int], max_batch: int = SIZES[-1]
) -> Path:
    """Write the requests for both signatures of the SavedModel in `folder`; returns the file.

    None is of more than `max_batch` images. Pixels are random: black images would leave out what a
    convolution does at its slowest.
    """
    draw = np.random.default_rng(0)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in [size for size in SIZES if size <= max_batch]:
            images = draw.integers(0, 256, (size, *shape), dtype=np.uint8)
            files = [tf.io.encode_png(image).numpy() for image in images]
            writer.write(_log(name, "serving_default", "images", tf.make_tensor_proto(images)))
            writer.write(_log(name, "serving_bytes", "image_bytes", tf.make_tensor_proto(files)))
    return path


def _log(model: str, signature: str, key: str, tensor) -> bytes:
    """PredictionLog{predict_log{request{model_spec, inputs}}}, in protobuf's wire format.

    Written by hand, for TensorFlow's own package has no messages of TF Serving's, and theirs
    asks for versions that would bind ours.
    """
    spec = _field(1, model.encode()) + _field(3, signature.encode())
    entry = _field(1, key.encode()) + _field(2, tensor.SerializeToString())
    request = _field(1, spec) + _field(2, entry)
    return _field(6, _field(1, request))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
