"""How fast augmentation is next to its peers, and whether training has to wait for it.

python benchmarks/augment.py                            everything that is installed, minutes
python benchmarks/augment.py --rounds 3 --seconds 0.3   a quick look
python benchmarks/augment.py --out benchmarks/augment.json   what the README's table is made of

All contestants take turns, round after round, on the same real images and the same cores; printed
are medians over the rounds. Ours, Keras' and keras-aug's layers run in tf.data with as many threads
as cores; torchvision runs on PIL images in as many worker processes, which need not even send their
images anywhere. torchvision and keras-aug are left out, with a message, where they are missing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from kerasresnet.machine import quiet_tensorflow

CROP_FLIP = "ours: crop, flip"
RANDAUGMENT = "ours: RandAugment"
TRIVIALAUGMENT = "ours: TrivialAugment"
CUTOUT = "ours: cutout"
ERASE = "ours: random erasing"
OURS = "ours: crop, flip, RandAugment"
AUTOAUGMENT = "ours: crop, flip, AutoAugment"
KERAS_IMAGE = "Keras: RandAugment, image by image"
KERAS_BATCH = "Keras: RandAugment, one operation a batch"
KERAS_AUG = "keras-aug: RandAugment"
TORCHVISION = "torchvision: crop, flip, RandAugment"

Measure = Callable[[float], float]  # seconds to run → images a second


@dataclass(frozen=True)
class Options:
    """Compare the speed of augmentations, and measure how long training waits for data."""

    data_dir: Path | None = None
    """Where TFDS keeps CIFAR-10 (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    batch_size: int = 512
    """Images in a batch of the pipelines."""
    rounds: int = 9
    """How often each contestant has its turn."""
    seconds: float = 1.0
    """How long a turn lasts."""
    cores: int = 2
    """Processor cores that everything may use."""
    steps: int = 60
    """Training steps for the share of time spent waiting; 0 leaves that out."""
    out: Path | None = None
    """A JSON file for the rates of every round."""


def pipeline(images: np.ndarray, options: Options, augment, *, by_image: bool = False) -> Measure:
    """A contestant in tf.data: `augment(step, images)` maps a batch, or `by_image` one image."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(images)
    dataset = dataset if by_image else dataset.batch(options.batch_size, drop_remainder=True)
    dataset = dataset.cache().repeat().enumerate()
    dataset = dataset.map(augment, num_parallel_calls=options.cores, deterministic=True)
    dataset = dataset.batch(options.batch_size, drop_remainder=True) if by_image else dataset
    settings = tf.data.Options()
    settings.threading.private_threadpool_size = options.cores
    batches = iter(dataset.with_options(settings))

    def measure(seconds: float) -> float:
        # What the threads finished while others had their turn must not count.
        stale = 1 if by_image else 2 * options.cores
        for _ in range(stale):
            next(batches)
        return _rate(batches, options.batch_size, seconds)

    return measure


def _rate(batches: Iterator, batch_size: int, seconds: float) -> float:
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        done += batch_size
    return done / (time.perf_counter() - start)


def our_pipeline(images: np.ndarray, options: Options, steps: list[str]) -> Measure:
    import tensorflow as tf

    from kerasresnet.augment import build_augmentation

    augmentation = build_augmentation(steps)
    labels = tf.zeros((options.batch_size, 10))

    def augment(step, batch):
        seed = tf.stack([tf.constant(1, tf.int64), step])
        return augmentation(batch, labels, seed)

    return pipeline(images, options, augment)


def layer_pipeline(images: np.ndarray, options: Options, layer, *, by_image=False) -> Measure:
    return pipeline(images, options, lambda _, batch: layer(batch), by_image=by_image)


def torchvision_worker(images: np.ndarray, connection) -> None:
    """Augment PIL images for as long as each message says, and answer with images a second."""
    import torch
    from PIL import Image
    from torchvision import transforms

    torch.set_num_threads(1)
    augment = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.RandAugment(num_ops=2, magnitude=9),
        ]
    )
    pictures = [Image.fromarray(image) for image in images[:2000]]
    with contextlib.suppress(EOFError):  # the benchmark has ended
        while True:
            seconds = connection.recv()
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                np.asarray(augment(pictures[done % len(pictures)]))
                done += 1
            connection.send(done / (time.perf_counter() - start))


def torchvision_processes(images: np.ndarray, options: Options) -> Measure:
    context = multiprocessing.get_context("spawn")
    connections = []
    for _ in range(options.cores):
        ours, theirs = context.Pipe()
        context.Process(target=torchvision_worker, args=(images, theirs), daemon=True).start()
        connections.append(ours)

    def measure(seconds: float) -> float:
        for connection in connections:
            connection.send(seconds)
        return sum(connection.recv() for connection in connections)

    return measure


def contestants(images: np.ndarray, options: Options) -> dict[str, Measure]:
    """Everyone who is installed, ready to run."""
    import keras

    found = {
        CROP_FLIP: our_pipeline(images, options, ["crop", "flip"]),
        RANDAUGMENT: our_pipeline(images, options, ["randaugment"]),
        TRIVIALAUGMENT: our_pipeline(images, options, ["trivialaugment"]),
        CUTOUT: our_pipeline(images, options, ["cutout"]),
        ERASE: our_pipeline(images, options, ["erase"]),
        OURS: our_pipeline(images, options, ["crop", "flip", "randaugment"]),
        AUTOAUGMENT: our_pipeline(images, options, ["crop", "flip", "autoaugment"]),
    }
    by_keras = keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.3)
    found[KERAS_IMAGE] = layer_pipeline(images, options, by_keras, by_image=True)
    found[KERAS_BATCH] = layer_pipeline(images, options, by_keras)
    if importlib.util.find_spec("keras_aug"):
        from keras_aug.layers.vision import RandAugment

        layer = RandAugment(num_ops=2, magnitude=9, interpolation="nearest")
        found[KERAS_AUG] = layer_pipeline(images, options, layer)
    else:
        print("keras-aug is not installed and left out (pip install keras-aug==1.1.1)")
    if importlib.util.find_spec("torchvision"):
        found[TORCHVISION] = torchvision_processes(images, options)
    else:
        print("torchvision is not installed and left out (pip install torchvision)")
    return found


def run_rounds(found: dict[str, Measure], options: Options) -> dict[str, list[float]]:
    """Images a second of every contestant in every round, after one round to warm up."""
    for measure in found.values():
        measure(options.seconds)
    rates = {name: [] for name in found}
    for _ in range(options.rounds):
        for name, measure in found.items():
            rates[name].append(measure(options.seconds))
    return rates


def print_rates(rates: dict[str, list[float]]) -> None:
    ours = statistics.median(rates[OURS])
    print(f"\n{'images a second':42} {'median':>8} {'lowest':>8} {'highest':>8}  {'ours is':>8}")
    for name, values in rates.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:42} {middle:8,.0f} {low:8,.0f} {high:8,.0f} {ours / middle:8.2f}×")
    print(f"(ours: the row {OURS!r})\n")


def print_goals(rates: dict[str, list[float]]) -> None:
    """The goals that the project set itself, and whether they are met."""
    middle = {name: statistics.median(values) for name, values in rates.items()}
    goals = [
        (OURS, 16_000, "16,000 images a second"),
        (CROP_FLIP, 60_000, "60,000 images a second"),
        (OURS, 2 * middle.get(TORCHVISION, 0), "twice torchvision"),
        (OURS, 12 * middle[KERAS_IMAGE], "twelve times Keras' layer, image by image"),
        (RANDAUGMENT, middle.get(KERAS_AUG, 0), "keras-aug"),
        (TRIVIALAUGMENT, middle[RANDAUGMENT], "RandAugment"),
    ]
    for name, goal, words in goals:
        if goal:
            verdict = "yes" if middle[name] >= goal else "NO"
            print(f"{verdict:3} {name}: {middle[name] / goal:.2f} of the goal, {words}")


def waiting_share(images: np.ndarray, labels: np.ndarray, steps: list[str] | None, count: int):
    """(share of the step time spent waiting for data, images a second) of the quick recipe.

    `steps` replaces the recipe's augmentation; `count` training steps are measured.
    """
    from kerasresnet import machine
    from kerasresnet.augment import build_augmentation
    from kerasresnet.data import train_dataset
    from kerasresnet.fit.compiled import compile_model
    from kerasresnet.network.build import build_model
    from kerasresnet.network.fast import fast_copy
    from kerasresnet.recipe import Recipe

    recipe = Recipe.named("quick")
    augment = build_augmentation(recipe.augment if steps is None else steps, num_classes=10)
    settings = {"num_classes": 10, "batch_size": recipe.batch_size, "seed": 0}
    with machine.training_precision(machine.resolve_precision(recipe.precision)):
        model = fast_copy(build_model(recipe.spec))
        compile_model(model, recipe, len(images))
        batches = iter(train_dataset(images, labels, augment=augment, **settings))
        for _ in range(5):
            model.train_on_batch(*next(batches))
        waited, start = 0.0, time.perf_counter()
        for _ in range(count):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            model.train_on_batch(*batch)
    took = time.perf_counter() - start
    return waited / took, count * recipe.batch_size / took


def main() -> None:
    options = tyro.cli(Options, prog="python benchmarks/augment.py")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    quiet_tensorflow()
    from kerasresnet.data import load_data

    data = load_data("cifar10", options.data_dir)
    rates = run_rounds(contestants(data.x_train, options), options)
    print_rates(rates)
    print_goals(rates)
    waiting = {}
    for steps in (None, ["crop", "flip", "randaugment"]) if options.steps else ():
        share, rate = waiting_share(data.x_train, data.y_train, steps, options.steps)
        words = "its own augmentation" if steps is None else ", ".join(steps)
        waiting[words] = share
        verdict = "yes" if share < 0.02 else "NO"
        print(
            f"\n{verdict:3} quick recipe, {words}: waits {share:.2%} of the step time "
            f"(goal: below 2 %), {rate:,.0f} images a second"
        )
    if options.out:
        write_results(options, rates, waiting)


def write_results(
    options: Options, rates: dict[str, list[float]], waiting: dict[str, float]
) -> None:
    """Everything measured, with the machine and the versions, as JSON at `options.out`."""
    from kerasresnet.disk import write_json
    from kerasresnet.machine import describe_device
    from kerasresnet.run import versions

    peers = {
        package: importlib.metadata.version(package)
        for package in ("torch", "torchvision", "keras-aug", "pillow")
        if importlib.util.find_spec(package.replace("-", "_").replace("pillow", "PIL"))
    }
    measured = {
        "device": describe_device(),
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "ours": OURS,
        "rates": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "waiting": max(waiting.values(), default=None),
        "versions": versions() | peers,
    }
    write_json(options.out, measured)


if __name__ == "__main__":
    main()
