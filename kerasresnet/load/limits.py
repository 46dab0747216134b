"""What a .keras file may unpack to and ask for, checked before either happens.

A few hundred bytes can say a layer of a billion weights, and a few KB of gzip, inside the archive
or inside the HDF5 file in it, can hold gigabytes. Keras stores weights as they are, so a file that
holds much more than its own size was not written by it.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

from kerasresnet.errors import UsageError

_TIMES = 4  # more than the file's own size that it may unpack to, or that its network may take
_ALWAYS = 16 << 20  # bytes; a small file may be compressed as it likes
MOST_ACTIVATIONS = 1 << 28  # numbers that one image may make of itself in one layer: 1 GiB
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"


def check_keras_file(path: Path) -> None:
    """Raises `UsageError` for a file that would take much more memory than its size says.

    And whatever zipfile, h5py and Keras raise for one that is damaged.
    """
    size = path.stat().st_size
    allowed = _TIMES * size + _ALWAYS
    with zipfile.ZipFile(path) as archive:
        _refuse_more(path, sum(member.file_size for member in archive.infolist()), allowed)
        config = archive.read(_CONFIG).decode("utf-8")
        if _WEIGHTS in archive.namelist():
            _refuse_more(path, _unpacked(archive.read(_WEIGHTS)), allowed)
    weights, widest = _asked_for(config)
    _refuse_more(path, weights, allowed)
    if widest > MOST_ACTIVATIONS:
        raise UsageError(
            f"{path} makes {widest:,} numbers of one image in one layer, more than "
            f"{MOST_ACTIVATIONS:,}; where you trust who wrote it, add --trust"
        )


def _refuse_more(path: Path, held: int, allowed: int) -> None:
    if held > allowed:
        raise UsageError(
            f"{path} has {path.stat().st_size / 1e6:,.1f} MB and would take {held / 1e6:,.0f} MB "
            "of memory, which no file that Keras saved does; where you trust who wrote it, add "
            "--trust"
        )


def _unpacked(contents: bytes) -> int:
    """Bytes of all arrays of an HDF5 file, from what its headers say."""
    import h5py

    sizes = []
    with h5py.File(io.BytesIO(contents)) as file:
        file.visititems(lambda _, found: sizes.append(getattr(found, "nbytes", 0)))
    return sum(sizes)


def _asked_for(config: str) -> tuple[int, int]:
    """(bytes of all weights, most numbers of one image in one layer) of a model's configuration.

    The model is built without its weights: inside a `StatelessScope` Keras notes them alone.
    """
    import json

    import keras
    from keras.src.backend.common import global_state

    with keras.StatelessScope(initialize_variables=False):
        try:
            found = json.loads(config)
            found.pop("compile_config", None)
            model = keras.saving.deserialize_keras_object(found, safe_mode=True)
            weights = sum(math.prod(weight.shape) for weight in model.weights)
            widest = max(map(_numbers, model.layers), default=0)
        finally:
            # Else the next scope that ends makes them all.
            global_state.set_global_attribute("uninitialized_variables", [])
    return 4 * weights, widest


def _numbers(layer) -> int:
    """How many numbers a layer puts out for one image; 0 where that is not known before."""
    import keras

    try:
        shapes = [tensor.shape for tensor in keras.tree.flatten(layer.output)]
    except (AttributeError, ValueError):
        return 0
    return sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)
