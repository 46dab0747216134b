"""Where an export is, and the runtimes beside TensorFlow: what each needs, and its predictor."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict

from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError, UsageError, first_line
from kerasresnet.run.record import DataSettings, checked
from kerasresnet.schema import Schema


@dataclass(frozen=True)
class Format:
    """One row of the table below."""

    file: str  # the model, inside the directory
    exporter: str  # what `keras.Model.export` calls it
    extra: str  # pip install "kerasresnet[extra]"
    modules: tuple[str, ...]  # what it needs beyond TensorFlow


FORMATS = {
    "onnx": Format("model.onnx", "onnx", "onnx", ("tf2onnx", "onnx", "onnxruntime")),
    "litert": Format("model.tflite", "litert", "litert", ("ai_edge_litert",)),
    "litert-int8": Format(
        "model.tflite", "litert", "litert", ("ai_edge_litert", "ai_edge_quantizer")
    ),
    "openvino": Format("model.xml", "openvino", "openvino", ("openvino",)),
}


SAVED_MODEL = "saved_model.pb"
CLASS_NAMES = "labels.txt"  # in a SavedModel's assets/, beside another model; a class a line
CARD = "model_card.json"  # in a SavedModel's assets.extra/, beside another model
MODEL_FILES = (SAVED_MODEL, *sorted({row.file for row in FORMATS.values()}))


def newest_version(path: Path) -> Path:
    """`path` itself where it holds an exported model, else its directory of the highest number.

    Of an exported model's own file the directory. Raises `UsageError` where there is none.
    """
    if path.name in MODEL_FILES and path.is_file():
        return path.parent
    if any((path / file).is_file() for file in MODEL_FILES):
        return path
    held = (found.parent for file in MODEL_FILES for found in path.glob(f"*/{file}"))
    versions = [version for version in held if version.name.isdecimal()]
    if not versions:
        raise UsageError(
            f"{path} holds no model: give an export (saved_models/quick or saved_models/quick/1), "
            "a run or a .keras file"
        )
    return max(versions, key=lambda version: int(version.name))


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the classes that `folder` holds, in order; None where it holds none."""
    file = folder / CLASS_NAMES
    return tuple(file.read_text("utf-8").splitlines()) if file.is_file() else None


def read_card(version: Path) -> dict[str, Any]:
    """What an exported version says of itself (`kerasresnet.export.card`); {} where nothing.

    Raises `KerasResNetError` where it says what no export of ours does.
    """
    for path in (version / "assets.extra" / CARD, version / CARD):
        if path.is_file():
            return checked(CardFacts, read_json(path), path).model_dump(mode="json")
    return {}


class CardFacts(Schema):
    """model_card.json, as far as it is read back; what only people read is in it too."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=True)

    labels: list[str]
    export: dict[str, Any]
    name: str | None = None
    network: str | None = None
    data: str | None = None
    data_settings: DataSettings | None = None
    model_sha256: str | None = None
    """Of the run's model.keras that it was made of."""


def require(format: str) -> None:
    """Raises `UsageError` with the line to type where a library that `format` needs is missing."""
    needed = FORMATS[format]
    missing = [name for name in needed.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the format {format} needs {' and '.join(missing)}, not installed here; type "
            f'pip install "kerasresnet[{needed.extra}]"'
        )


def require_images(images: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
        raise UsageError(
            f"{what} must be uint8 images [N, {', '.join(map(str, shape))}], received "
            f"{images.dtype} {list(images.shape)}"
        )


@dataclass(frozen=True)
class FormatPredictor:
    """A loaded file: call it with uint8 images [N, H, W, C] for probabilities [N, classes].

    Not for several threads at once: LiteRT's interpreter is not.
    """

    run: Callable[[np.ndarray], np.ndarray]
    input_shape: tuple[int, ...]  # H, W, C
    class_names: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        # LiteRT takes any shape and answers nonsense.
        require_images(images, self.input_shape, "images")
        if not len(images):
            return np.zeros((0, len(self.class_names)), np.float32)
        return self.run(images)


def load_format(
    path: Path,
    *,
    precision: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
) -> FormatPredictor:
    """The predictor of a directory (or of the model in it) that `export_format` wrote.

    `precision` is OpenVINO's way to compute; the others have one only. `threads` is by default
    the number of cores. Raises `UsageError` for anything that is no such file or a missing
    library, `KerasResNetError` for a file that does not load.
    """
    from joblib import cpu_count

    file = _model_file(Path(path))
    require(next(name for name, row in FORMATS.items() if row.file == file.name))
    load = {"model.onnx": _load_onnx, "model.tflite": _load_litert, "model.xml": _load_openvino}
    if precision != "float32" and file.name != "model.xml":
        raise UsageError(f"{precision} is for OpenVINO alone; {file} computes as it was written")
    try:
        class_names = tuple((file.parent / CLASS_NAMES).read_text("utf-8").splitlines())
        with silence():
            run, shape = load[file.name](file, precision, threads or cpu_count())
    except Exception as error:  # whatever a damaged file makes a runtime raise
        raise KerasResNetError(f"cannot load {file}: {first_line(error)}") from None
    return FormatPredictor(run, shape, class_names)


def _model_file(path: Path) -> Path:
    names = MODEL_FILES[1:]
    for file in [path / name for name in names] if path.is_dir() else [path]:
        if file.name in names and file.is_file():
            return file
    raise UsageError(f"{path} holds no {' or '.join(names)}; give what --format wrote")


def _load_onnx(file: Path, precision: str, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"images": images})[0]

    return run, tuple(session.get_inputs()[0].shape[1:])


def _load_litert(file: Path, precision: str, threads: int):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    shape = tuple(int(size) for size in interpreter.get_input_details()[0]["shape"][1:])
    interpreter.allocate_tensors()  # announces its delegate here, not at the first image
    runner = interpreter.get_signature_runner()

    def run(images: np.ndarray) -> np.ndarray:
        return runner(images=images)["probabilities"]

    return run, shape


def _load_openvino(file: Path, precision: str, threads: int):
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(str(file), "CPU", settings)
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> np.ndarray:
        return request.infer({"images": images})["probabilities"].copy()

    return run, tuple(size.get_length() for size in compiled.inputs[0].partial_shape[1:])


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Send what the libraries print, from Python and from C++, to nowhere."""
    kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as sink:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
