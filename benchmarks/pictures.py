"""What many pictures cost in memory and time: from memory, and from the file they are decoded into.

python benchmarks/pictures.py --images 2000             a quick look
python benchmarks/pictures.py --out benchmarks/pictures.json   what docs/data.md says

The pictures are drawn here: JPEG files of 64 x 64, smooth colours and grain, in ten classes. Each
way has a process of its own, whose resident memory is looked at a hundred times a second: "memory"
decodes all pictures into memory, "first" into a file, "again" finds that file. Rates are of
kerasresnet.data's own training pipeline without augmentation, for two epochs; "cold" is one more
with the file dropped from the system's cache. Waiting is the share of the training step's time,
with the recipe's augmentation, that passes until its batch is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import psutil

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.machine import quiet_tensorflow

CLASSES = 10
WAYS = ("memory", "first", "again")
BUSY = "busy with other work, more at one time than at another, so that rates are no comparison"


@dataclass(frozen=True)
class PicturesOptions:
    """Memory and speed of a folder of pictures, from memory and from a file."""

    images: int = 100_000
    """Pictures to draw."""
    size: int = 64
    """Pixels of a side."""
    batch_size: int = 128
    """Images in a batch of the pipelines."""
    recipe: str = "quick"
    """The recipe whose step is measured; its network takes images of this size."""
    steps: int = 30
    """Training steps that are measured."""
    folder: Path | None = None
    """Where pictures and cache are kept for another time (default: nowhere)."""
    quiet: bool = False
    """Say in the figures that nothing else ran on the machine."""
    way: Literal["memory", "first", "again"] | None = None
    """Measure this way alone, in this process, with the pictures of --folder."""
    out: Path | None = None
    """A JSON file for the figures."""


def draw_pictures(folder: Path, count: int, size: int) -> None:
    """`count` JPEG files in ten class folders; those that are there already stay."""
    from PIL import Image

    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True, exist_ok=True)

    def draw(number: int) -> None:
        file = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        if file.is_file():
            return
        rng = np.random.default_rng(number)
        colours = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        smooth = np.asarray(colours.resize((size, size), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 13, (size, size, 1), np.int16)
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(draw, range(count)):
            pass


@contextmanager
def peak_memory() -> Iterator[SimpleNamespace]:
    """`.mb` is, at the end, the most resident memory that this process had meanwhile."""
    process, found, done = psutil.Process(), SimpleNamespace(mb=0.0), threading.Event()

    def look() -> None:
        while True:
            found.mb = max(found.mb, process.memory_info().rss / 1e6)
            if done.wait(0.01):
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found.mb = round(found.mb)


def measure_way(options: PicturesOptions) -> dict[str, Any]:
    """The figures of one way; memory in MB, of which `start` is there before anything is loaded."""
    quiet_tensorflow(training=True)
    import keras  # noqa: F401

    from kerasresnet.data import DataRequest, train_val_split

    if options.way != "memory":
        psutil.virtual_memory = lambda: SimpleNamespace(available=0)
    request = DataRequest(str(options.folder / "pictures"), size=(options.size, options.size))
    with peak_memory() as start:
        pass
    with peak_memory() as loading:
        began = time.perf_counter()
        data = request.load(options.folder / "cache")
        seconds = time.perf_counter() - began
    with peak_memory() as running:
        train, _ = train_val_split(data.x_train, data.y_train, len(data.x_train) // 10, 0)
        rates = [round(rate) for rate in epoch_rates(train, options, 2)]
        cold = None
        if options.way == "again":
            drop_from_cache(next((options.folder / "cache").rglob("images.npy")))
            cold = round(epoch_rates(train, options, 1)[0])
    with peak_memory() as training:
        share, rate = waiting_share(train, options)
    return {
        "loading_seconds": round(seconds, 2),
        "loading_images_per_second": round(options.images / seconds),
        "memory": {
            "start": start.mb,
            "loading": loading.mb,
            "pipeline": running.mb,
            "training": training.mb,
        },
        "pipeline_images_per_second": rates,
        "cold_images_per_second": cold,
        "waiting_share": round(share, 4),
        "training_images_per_second": round(rate),
    }


def epoch_rates(train: tuple, options: PicturesOptions, epochs: int) -> list[float]:
    """Images a second of each epoch of the training pipeline, without augmentation."""
    from kerasresnet.data import steps_per_epoch, train_dataset

    settings = {"num_classes": CLASSES, "batch_size": options.batch_size, "seed": 0}
    batches = iter(train_dataset(*train, epochs=epochs, **settings))
    steps, rates = steps_per_epoch(len(train[0]), options.batch_size), []
    for _ in range(epochs):
        began = time.perf_counter()
        for _ in range(steps):
            next(batches)
        rates.append(steps * options.batch_size / (time.perf_counter() - began))
    return rates


def drop_from_cache(file: Path) -> None:
    """Let the system forget the file's pages, so that they come from the disk."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def waiting_share(train: tuple, options: PicturesOptions) -> tuple[float, float]:
    """Share of the step's time spent waiting for its batch, and images a second, of the recipe."""
    from kerasresnet import machine
    from kerasresnet.augment import build_augmentation
    from kerasresnet.data import train_dataset
    from kerasresnet.fit.compiled import compile_model
    from kerasresnet.network.build import build_model
    from kerasresnet.network.fast import fast_copy
    from kerasresnet.recipe import Recipe

    recipe = Recipe.named(options.recipe).replace(resolution=None)
    spec = recipe.spec.replace(input_shape=(options.size, options.size, 3))
    augment = build_augmentation(recipe.augment, num_classes=CLASSES)
    settings = {"num_classes": CLASSES, "batch_size": recipe.batch_size, "seed": 0}
    with machine.training_precision(machine.resolve_precision(recipe.precision)):
        halves = machine.trains_by_halves(recipe.batch_size)
        model = fast_copy(build_model(spec), halves=halves)
        compile_model(model, recipe.replace(spec=spec), len(train[0]))
        batches = iter(train_dataset(*train, augment=augment, **settings))
        for _ in range(3):
            model.train_on_batch(*next(batches))
        waited, began = 0.0, time.perf_counter()
        for _ in range(options.steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            model.train_on_batch(*batch)
    took = time.perf_counter() - began
    return waited / took, options.steps * recipe.batch_size / took


def measure(options: PicturesOptions, folder: Path) -> dict[str, Any]:
    """Draw what is missing in `folder`, then every way in a process of its own."""
    began = time.perf_counter()
    draw_pictures(folder / "pictures", options.images, options.size)
    print(f"{options.images:,} pictures drawn in {time.perf_counter() - began:.0f} s", flush=True)
    ways = {}
    for way in WAYS:
        settings = ("images", "size", "batch_size", "recipe", "steps")
        flags = [f"--{n.replace('_', '-')}={getattr(options, n)}" for n in settings]
        out = folder / f"{way}.json"
        command = [sys.executable, __file__, *flags, f"--folder={folder}", f"--way={way}"]
        if subprocess.run([*command, f"--out={out}"], check=False).returncode:
            raise KerasResNetError(f"measuring {way} failed: see above")
        ways[way] = read_json(out)
        print(f"{way}: {json.dumps(ways[way])}", flush=True)
    return ways


def paragraph(found: dict[str, Any]) -> str:
    """What docs/data.md says of the figures."""
    ways, memory = found["ways"], {way: each["memory"] for way, each in found["ways"].items()}
    grown = {
        way: max(each[stage] for stage in ("loading", "pipeline")) - each["start"]
        for way, each in memory.items()
    }
    first, again = ways["first"], ways["again"]
    return (
        f"Measured once on {found['images']:,} JPEG files of {found['size']}×{found['size']} that "
        f"`benchmarks/pictures.py` draws (smooth colours and grain), on {found['device']}, "
        f"{'quiet' if found['quiet'] else BUSY}: loaded into memory and iterated "
        f"for two epochs they took {grown['memory']:,} MB, from the file {grown['first']:,} MB "
        f"while it was made and {grown['again']:,} MB when it was there. Decoding went at "
        f"{first['loading_images_per_second']:,} pictures a second, and the second time loading "
        f"took {again['loading_seconds']:.1f} s. The training pipeline gave "
        f"{max(ways['memory']['pipeline_images_per_second']):,} images a second from memory and "
        f"{max(again['pipeline_images_per_second']):,} from the file, "
        f"{again['cold_images_per_second']:,} where the system had none of it cached; training "
        f"`{found['recipe']}` at that size took {again['training_images_per_second']:,} images a "
        f"second, and waited for {again['waiting_share']:.2%} of its time, against "
        f"{ways['memory']['waiting_share']:.2%} from memory."
    )


def main() -> None:
    with exit_on_error("benchmarks/pictures.py"):
        options = parse(PicturesOptions, None, prog="python benchmarks/pictures.py")
        if options.images < 1_000 or (options.way and not options.folder):
            raise UsageError("--images is 1,000 or more, and --way needs --folder")
        if options.way:
            figures = measure_way(options)
        else:
            with tempfile.TemporaryDirectory(prefix="kerasresnet-pictures-") as folder:
                ways = measure(options, (options.folder or Path(folder)).absolute())
            quiet_tensorflow()
            from kerasresnet.machine import describe_device
            from kerasresnet.run import versions

            names = ("images", "size", "batch_size", "recipe", "steps", "quiet")
            about = {name: getattr(options, name) for name in names}
            about |= {"device": describe_device(), "versions": versions()}
            figures = {**about, "ways": ways}
            print(paragraph(figures))
        if options.out:
            write_json(options.out, figures)


if __name__ == "__main__":
    main()
