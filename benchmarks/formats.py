"""What each export format costs in accuracy, and how large it is: one trained run in all of them.

python benchmarks/formats.py runs/20260131-101500-quick
python benchmarks/formats.py RUN_DIR --out benchmarks/formats.json   the README's table

Accuracy is that of the written file, loaded by its own runtime, on the whole test set; int8 is
calibrated on training images. Formats whose libraries are missing are left out, with a message
(pip install "kerasresnet[onnx,litert,openvino]"). Timings are benchmarks/serving.py's.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from kerasresnet.command import exit_on_error
from kerasresnet.disk import write_json
from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.run import Run, versions

if TYPE_CHECKING:
    import keras

    from kerasresnet.data import ImageData

KERAS = "Keras"
Predictor = Callable[[np.ndarray], np.ndarray]  # uint8 images [N, H, W, C] → scores [N, classes]


@dataclass(frozen=True)
class Options:
    """Accuracy and size of a run in every format that it can be exported to."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """The run, as kerasresnet.fit made it."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    out: Path | None = None
    """A JSON file for the figures."""


@dataclass(frozen=True)
class Written:
    """One export: where it is, and who answers with it."""

    path: Path
    predictor: Predictor


def saved_models(run: Run, home: Path) -> Iterator[tuple[str, Written]]:
    from kerasresnet.export import export_saved_model
    from kerasresnet.load.predictor import load_predictor

    rows = (
        ("SavedModel", {}),
        ("SavedModel, --freeze", {"freeze": True}),
        ("SavedModel, --precision bfloat16", {"precision": "bfloat16"}),
    )
    for name, settings in rows:
        path = export_saved_model(run, home / "saved_models", **settings)
        yield name, Written(path, load_predictor(path))


def formats(model: keras.Model, data: ImageData, home: Path):
    """The formats of other runtimes, as far as they are installed, as (name, `Written`)."""
    from kerasresnet.export.fold import fold_batch_norm
    from kerasresnet.export.formats import export_format
    from kerasresnet.load.runtimes import FORMATS, load_format

    folded = fold_batch_norm(model)
    for name in FORMATS:
        try:
            file = export_format(
                folded, name, home / name, class_names=data.class_names, calibration=data.x_train
            )
        except UsageError as error:
            print(f"{name} is left out: {error}")
            continue
        yield name, Written(file.parent, load_format(file))
        if name == "openvino":
            by_bfloat16 = load_format(file, precision="bfloat16")
            yield "openvino, run in bfloat16", Written(file.parent, by_bfloat16)


def megabytes(path: Path) -> float:
    """Everything that a file or a directory holds, in 10⁶ bytes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def classes_of(predictor: Predictor, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    starts = range(0, len(images), batch_size)
    return np.concatenate([predictor(images[i : i + batch_size]).argmax(axis=1) for i in starts])


def measure(options: Options) -> dict[str, dict[str, float]]:
    """accuracy, its points below Keras', share of equal classes and megabytes, by format."""
    import keras

    from kerasresnet.data import load_again

    run = Run.open(options.run_dir)
    data = load_again(run.fact("data"), run.facts.get("data_settings"), options.data_dir)
    model = keras.saving.load_model(run.model_path, compile=False)
    expected = classes_of(model.predict_on_batch, data.x_test)
    accuracy = float((expected == data.y_test).mean())
    rows = {
        KERAS: {
            "accuracy": accuracy,
            "points_lost": 0.0,
            "same_class": 1.0,
            "megabytes": round(megabytes(run.model_path), 3),
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        for source in (
            saved_models(run, Path(folder)),
            formats(model, data, Path(folder)),
        ):
            for name, written in source:
                given = classes_of(written.predictor, data.x_test)
                hit = float((given == data.y_test).mean())
                rows[name] = {
                    "accuracy": hit,
                    "points_lost": round(100 * (accuracy - hit), 2),
                    "same_class": float((given == expected).mean()),
                    "megabytes": round(megabytes(written.path), 3),
                }
    return rows


def print_rows(rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{'':34} {'accuracy':>9} {'points lost':>12} {'same class':>11} {'MB':>7}")
    for name, row in rows.items():
        print(
            f"{name:34} {row['accuracy']:9.2%} {row['points_lost']:12.2f} "
            f"{row['same_class']:11.2%} {row['megabytes']:7.2f}"
        )
    if "litert-int8" in rows:
        lost = rows["litert-int8"]["points_lost"]
        print(
            f"\n{'yes' if lost <= 0.5 else 'NO':3} litert-int8 loses {lost:.2f} points (goal: 0.5)"
        )


def main() -> None:
    with exit_on_error("benchmarks/formats.py"):
        options = tyro.cli(Options, prog="python benchmarks/formats.py")
        quiet_tensorflow()
        start = time.perf_counter()
        rows = measure(options)
        print_rows(rows)
        print(f"{time.perf_counter() - start:.0f} seconds")
        if options.out:
            write_results(options, rows)


def write_results(options: Options, rows: dict[str, dict[str, float]]) -> None:
    """Everything measured, with the run, the machine and the versions, as JSON at `options.out`."""
    from kerasresnet.machine import describe_device

    run = Run.open(options.run_dir)
    peers = {}
    for package in ("onnxruntime", "openvino", "ai-edge-litert", "ai-edge-quantizer", "tf2onnx"):
        try:
            peers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    measured = {
        "device": describe_device(),
        "recipe": run.recipe.name,
        "data": run.facts["data"],
        "seed": run.facts["seed"],
        "formats": rows,
        "versions": versions() | peers,
    }
    write_json(options.out, measured)


if __name__ == "__main__":
    main()
