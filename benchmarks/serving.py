"""How fast an exported network answers, next to other ways to serve the same network.

python benchmarks/serving.py                            everything that is installed, four minutes
python benchmarks/serving.py --rounds 3 --seconds 0.3   a quick look
python benchmarks/serving.py --out benchmarks/serving.json   what the README's table is made of

The network is row 6 of Table 1 with random weights and batch statistics. A fresh one will not do:
its folded biases are all zero, an optimizer drops them, and TensorFlow's then fuses no activation.
Every contestant has a process of its own, as in a server, and all take turns, round after round, on
the same images and the same cores; printed are medians over the rounds. SavedModels run through
TensorFlow's own loader and a session, as in TensorFlow Serving; no contestant pays for a network or
a protocol. Formats whose libraries are
missing are left out, with a message (pip install "kerasresnet[onnx,litert,openvino]").
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro

from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow

if TYPE_CHECKING:
    import keras

RECIPE = "table1-06"
KERAS = "Keras: predict"
PLAIN = "Keras: model.export"
OURS = "ours"
FROZEN = "ours: --freeze"
BFLOAT16 = "ours: --precision bfloat16"
ONNX = "ONNX Runtime"
OPENVINO = "OpenVINO"
OPENVINO_BFLOAT16 = "OpenVINO, bfloat16"
LITERT = "LiteRT"
LITERT_INT8 = "LiteRT, int8"
MANY = 64  # images in a batch where throughput is measured

Answer = Callable[[np.ndarray], object]  # uint8 images [N, 32, 32, 3] → whatever it serves


@dataclass(frozen=True)
class Options:
    """Compare the speed of exported networks: milliseconds an image, images a second."""

    rounds: int = 9
    """How often each contestant has its turn."""
    seconds: float = 0.8
    """How long a turn lasts, for one image at a time and again for 64."""
    cores: int = 2
    """Processor cores that everything may use."""
    out: Path | None = None
    """A JSON file for the figures of every round."""


class Contestant:
    """A process that answers one image, or 64, again and again: two answers where a runtime sets
    itself up for a size.
    """

    def __init__(self, load: Callable[..., Answer], *arguments: object):
        spawn = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, spawn, _load, (load, arguments))

    def turn(self, images: int, seconds: float) -> float:
        """Milliseconds of a call with so many images."""
        return self._process.submit(_turn, images, seconds).result()


_loaded: dict[int, Answer] = {}  # by how many images a call has, in a contestant's process


def _load(load: Callable[..., Answer], arguments: tuple) -> None:
    quiet_tensorflow()
    _loaded.update({images: load(*arguments) for images in (1, MANY)})


def _turn(images: int, seconds: float) -> float:
    return milliseconds(_loaded[images], random_images(images), seconds)


def random_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def network() -> keras.Model:
    """Row 6 of Table 1 with batch norms that do something, as after a training."""
    import keras

    from kerasresnet.network.build import build_model
    from kerasresnet.recipe import Recipe

    keras.utils.set_random_seed(0)
    model = build_model(Recipe.named(RECIPE).spec)
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, offset, mean, variance = (values.shape for values in layer.get_weights())
            around_0 = [draw.normal(0, 0.3, shape) for shape in (offset, mean)]
            around_1 = [draw.uniform(0.5, 1.5, shape) for shape in (scale, variance)]
            layer.set_weights([around_1[0], *around_0, around_1[1]])
    return model


def served(path: Path) -> Answer:
    """All outputs of a SavedModel's serving_default, as TensorFlow Serving computes them."""
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # it calls the loader that servers use deprecated
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
    signature = meta.signature_def["serving_default"]
    (feed,) = signature.inputs.values()
    fetches = [output.name for output in signature.outputs.values()]
    return session.make_callable(fetches, feed_list=[feed.name])


def export_bare(model: keras.Model, path: Path) -> Path:
    """Our default export without its guards and labels: what these cost is the difference."""
    import keras
    import tensorflow as tf

    from kerasresnet.export.fold import fold_batch_norm

    folded = fold_batch_norm(model)
    images = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="images")
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        lambda images: {"probabilities": tf.nn.softmax(folded(images, training=False))},
        input_signature=[images],
    )
    archive.write_out(str(path), verbose=False)
    return path


def predicting(path: Path) -> Answer:
    import keras

    model = keras.models.load_model(path, compile=False)
    return lambda images: model.predict(images, verbose=0)


def saved_models(model: keras.Model, home: Path) -> dict[str, Contestant]:
    from kerasresnet.export import export_saved_model

    model.save(home / "model.keras")
    model.export(home / "plain", verbose=False)
    paths = {
        PLAIN: home / "plain",
        OURS: export_saved_model(model, home, name="ours"),
        FROZEN: export_saved_model(model, home, name="frozen", freeze=True),
        BFLOAT16: export_saved_model(model, home, name="bfloat16", precision="bfloat16"),
    }
    found = {KERAS: Contestant(predicting, home / "model.keras")}
    return found | {name: Contestant(served, path) for name, path in paths.items()}


def formats(model: keras.Model, home: Path) -> dict[str, Contestant]:
    """The formats of other runtimes, as far as they are installed."""
    from kerasresnet.export.fold import fold_batch_norm
    from kerasresnet.export.formats import export_format
    from kerasresnet.load.runtimes import load_format

    folded, images = fold_batch_norm(model), random_images(512)
    class_names = [str(i) for i in range(model.output_shape[-1])]
    rows = (
        (ONNX, "onnx", "float32"),
        (OPENVINO, "openvino", "float32"),
        (OPENVINO_BFLOAT16, "openvino", "bfloat16"),
        (LITERT, "litert", "float32"),
        (LITERT_INT8, "litert-int8", "float32"),
    )
    found, files = {}, {}
    for name, format, precision in rows:
        try:
            if format not in files:
                files[format] = export_format(
                    folded, format, home / format, class_names=class_names, calibration=images
                )
            load_format(files[format], precision=precision)
        except UsageError as error:
            print(f"{name} is left out: {error}")
            continue
        found[name] = Contestant(partial(load_format, precision=precision), files[format])
    return found


def milliseconds(answer: Answer, image: np.ndarray, seconds: float) -> float:
    """The median time of a call, over as many calls as `seconds` hold."""
    times = []
    answer(image)  # the caches may be somebody else's
    start = time.perf_counter()
    while (called := time.perf_counter()) - start < seconds:
        answer(image)
        times.append(time.perf_counter() - called)
    return 1000 * statistics.median(times)


def extra_cost(with_them: Answer, without: Answer, count: int, seconds: float) -> float:
    """The share of time that guards and labels add, by calls that alternate for `seconds`."""
    images, times = random_images(count), {with_them: [], without: []}
    for answer in times:
        answer(images)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for answer, taken in times.items():
            called = time.perf_counter()
            answer(images)
            taken.append(time.perf_counter() - called)
    return statistics.median(times[with_them]) / statistics.median(times[without]) - 1


def run_rounds(
    found: dict[str, Contestant], pair: tuple[Answer, Answer], options: Options
) -> dict[str, dict[str, list[float]]]:
    """Every figure of every round, after a short one to warm up; `pair` is for `extra_cost`."""
    latency = {name: [] for name in found}
    rates = {name: [] for name in found}
    extra = {"1": [], str(MANY): []}
    for contestant in found.values():
        for images in (1, MANY):
            contestant.turn(images, options.seconds / 4)
    for _ in range(options.rounds):
        for name, contestant in found.items():
            latency[name].append(contestant.turn(1, options.seconds))
            rates[name].append(1000 * MANY / contestant.turn(MANY, options.seconds))
        for images in (1, MANY):
            extra[str(images)].append(extra_cost(*pair, images, 2 * options.seconds))
    return {"milliseconds": latency, "images_a_second": rates, "extra_cost": extra}


def medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(figures) for name, figures in values.items()}


def print_table(measured: dict[str, dict[str, list[float]]]) -> None:
    latency, rates = medians(measured["milliseconds"]), medians(measured["images_a_second"])
    print(f"\n{'':28} {'1 image':>9} {'of plain':>9} {'64 images':>12} {'of plain':>9}")
    for name in latency:
        print(
            f"{name:28} {latency[name]:6.2f} ms {latency[name] / latency[PLAIN]:8.2f}× "
            f"{rates[name]:8,.0f} /s {rates[name] / rates[PLAIN]:8.2f}×"
        )
    print(f"(plain: the row {PLAIN!r})\n")


def print_goals(measured: dict[str, dict[str, list[float]]]) -> None:
    """The goals that the project set itself, and whether they are met."""
    latency, rates = medians(measured["milliseconds"]), medians(measured["images_a_second"])
    goals = [
        ("frozen, 1 image: time of the plain one", latency[FROZEN] / latency[PLAIN], 0.75, False),
        ("bfloat16, 64 images: rate of the plain one", rates[BFLOAT16] / rates[PLAIN], 1.8, True),
    ]
    for ours, theirs in ((FROZEN, OPENVINO), (BFLOAT16, OPENVINO_BFLOAT16)):
        if theirs in rates:
            goals.append(
                (f"{ours}, 64 images: {theirs}'s rate", rates[ours] / rates[theirs], 0.9, True)
            )
    for size, cost in medians(measured["extra_cost"]).items():
        goals.append((f"guards and labels, {size} images: cost", cost, 0.03, False))
    for words, value, goal, at_least in goals:
        met = value >= goal if at_least else value <= goal
        bound = "at least" if at_least else "at most"
        print(f"{'yes' if met else 'NO':3} {words} × {value:.3f} (goal: {bound} {goal:g})")


def main() -> None:
    options = tyro.cli(Options, prog="python benchmarks/serving.py")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    quiet_tensorflow()
    model = network()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found = saved_models(model, home) | formats(model, home)
        pair = served(home / "ours" / "1"), served(export_bare(model, home / "bare"))
        measured = run_rounds(found, pair, options)
    print_table(measured)
    print_goals(measured)
    if options.out:
        write_results(options, measured)


def write_results(options: Options, measured: dict[str, dict[str, list[float]]]) -> None:
    """Everything measured, with the machine and the versions, as JSON at `options.out`."""
    from kerasresnet.disk import write_json
    from kerasresnet.machine import describe_device
    from kerasresnet.run import versions

    peers = {}
    for package in ("onnxruntime", "openvino", "ai-edge-litert"):
        try:
            peers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    rounded = {
        what: {name: [float(f"{value:.4g}") for value in values] for name, values in rows.items()}
        for what, rows in measured.items()
    }
    facts = {
        "device": describe_device(),
        "network": RECIPE,
        "batch_size": MANY,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    write_json(options.out, facts | rounded | {"versions": versions() | peers})


if __name__ == "__main__":
    main()
