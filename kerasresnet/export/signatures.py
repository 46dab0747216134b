"""What a server offers: the signatures of an export, and the module that holds their variables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from kerasresnet.export.fold import fold_batch_norm
from kerasresnet.export.guards import MOST_IMAGES, checked_integers, checked_pixels, decoded
from kerasresnet.load.runtimes import CLASS_NAMES


def write_signatures(
    model: keras.Model,
    folder: Path,
    class_names: Sequence[str],
    *,
    freeze: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
    tta: Literal["flip"] | None = None,
    max_batch: int = MOST_IMAGES,
) -> None:
    """Write `model` (uint8 images [N, H, W, C] → logits) as a SavedModel into `folder`.

    - ``serving_default``: `images` uint8 [N, H, W, C] → `probabilities` [N, classes], `class_id`
      int32 [N], `label` string [N];
    - ``serving_bytes``: `image_bytes` string [N], PNG or JPEG files → the same;
    - ``serving_int32``: `images` int32 → the same; values outside 0…255 are refused, where JSON
      numbers for a uint8 wrap round unseen;
    - ``logits``: `images` uint8 → `logits` [N, classes], `features` [N, F] (the head's inputs).

    Batch norms are folded into convolutions. `freeze` puts variables into the graph as constants,
    which lets a server's optimizer see them; bfloat16 always does. Each refuses a request of more
    than `max_batch` images. With `tta` "flip", logits and
    features are means over the image and its mirror image, for twice the work.
    """
    shape = tuple(model.input_shape[1:])
    freeze = freeze or precision == "bfloat16"  # else every request would cast the weights anew
    network = fold_batch_norm(model, precision)
    both = keras.Model(network.input, [network.output, network.get_layer("head").input])
    module = tf.Module()
    call = _frozen(both, shape, module) if freeze else _called(both, module)
    call = _flip_averaged(call) if tta == "flip" else call
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside, CLASS_NAMES)
        path.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(path))
        tf.saved_model.save(module, str(folder), _signatures(call, shape, class_names, max_batch))


def _called(network: keras.Model, module: tf.Module) -> Callable:
    """The network as it is; `module` tracks every variable once."""
    module.weights = [variable.value for variable in network.variables]
    return lambda images: network(images, training=False)


def _frozen(network: keras.Model, shape: tuple[int, ...], module: tf.Module) -> Callable:
    """The network with its variables as constants."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec([None, *shape], tf.uint8, name="images")],
    )
    module.network = convert_variables_to_constants_v2(function.get_concrete_function())
    return module.network


def _flip_averaged(call: Callable) -> Callable:
    """`call`, averaged over image and mirror image, both in one batch."""

    def averaged(images: tf.Tensor) -> list[tf.Tensor]:
        both = call(tf.concat([images, tf.reverse(images, [2])], axis=0))
        return [tf.add_n(tf.split(found, 2)) / 2 for found in both]

    return averaged


def _signatures(
    call: Callable, shape: tuple[int, ...], class_names: Sequence[str], most: int
) -> dict:
    names = tf.constant(list(class_names))

    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(call(images)[0])
        class_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        label = tf.gather(names, class_id)
        return {"probabilities": probabilities, "class_id": class_id, "label": label}

    def taking(name: str, kind: tf.DType, rest: Sequence[int], body: Callable) -> tf.function:
        spec = tf.TensorSpec([None, *rest], kind, name=name)
        return tf.function(body, input_signature=[spec], autograph=False)

    def logits(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found, features = call(checked_pixels(images, shape, most))
        return {"logits": found, "features": tf.cast(features, tf.float32)}

    return {
        "serving_default": taking(
            "images", tf.uint8, shape, lambda images: answer(checked_pixels(images, shape, most))
        ),
        "serving_bytes": taking(
            "image_bytes",
            tf.string,
            [],
            lambda image_bytes: answer(decoded(image_bytes, shape, most)),
        ),
        "serving_int32": taking(
            "images", tf.int32, shape, lambda images: answer(checked_integers(images, shape, most))
        ),
        "logits": taking("images", tf.uint8, shape, logits),
    }
