"""How fast a network trains, next to PyTorch on the same cores.

python benchmarks/train_step.py                          four minutes
python benchmarks/train_step.py --rounds 2 --seconds 2   a quick look
python benchmarks/train_step.py --torch-python other-venv/bin/python    PyTorch lies elsewhere

Row 6 of Table 1 at a batch of 128 and the quick recipe's network at 256, trained by SGD with
momentum on real images that are in memory: no augmentation, no waiting for data. Every contestant
has a process of its own, and all take turns, round after round, on the same cores; printed are
medians over the rounds, and the share of what a multiplication of two matrices of 2,048 x 2,048
reaches in the same rounds, at 6 x MACs a training image. PyTorch runs channels last, in bfloat16
under its autocast; without it (pip install torch) it is left out, with a message.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from kerasresnet.machine import THREADS, quiet_tensorflow
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.profile.steps import a_second
from kerasresnet.recipe import Recipe

NETWORKS = {"table1-06": 128, "quick": 256}  # recipes, and images in a batch
FLOAT32, BFLOAT16, AUTO = "ours, float32", "ours, bfloat16", "ours, auto"
WHOLE = "ours, bfloat16, whole batches"
TORCH_FLOAT32, TORCH_BFLOAT16 = "PyTorch, float32", "PyTorch, bfloat16"
PEAK_FLOAT32, PEAK_BFLOAT16 = "matrix product, float32", "matrix product, bfloat16"


@dataclass(frozen=True)
class Options:
    """Compare training steps: images a second."""

    rounds: int = 5
    """How often each contestant has its turn."""
    seconds: float = 3.0
    """How long a turn lasts, at least."""
    cores: int = 2
    """Processor cores that everything may use."""
    torch_python: Path = Path(sys.executable)
    """The Python interpreter that has PyTorch."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    out: Path | None = None
    """A JSON file for the figures of every round."""


class Ours:
    """A process that trains a network of ours, or multiplies matrices, for some seconds."""

    def __init__(self, make: Callable, *arguments: object, threads: dict[str, str] | None = None):
        spawn = multiprocessing.get_context("spawn")
        self._process = ProcessPoolExecutor(1, spawn, _start, (make, arguments, threads or {}))
        self.turn(0.0)  # whatever happens once

    def turn(self, seconds: float) -> float:
        return self._process.submit(_turn, seconds).result()

    def end(self) -> None:
        self._process.shutdown()


class PyTorch:
    """The same for PyTorch, in a process of another interpreter."""

    def __init__(self, python: Path, settings: dict[str, object]):
        command = [python, Path(__file__).with_name("torch_step.py"), json.dumps(settings)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, **pipes)
        self.version = self._answer()

    def turn(self, seconds: float) -> float:
        print(seconds, file=self._process.stdin, flush=True)
        return float(self._answer())

    def end(self) -> None:
        self._process.communicate()

    def _answer(self) -> str:
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"PyTorch ended with code {self._process.wait()}")
        return line.strip()


_work: list[tuple[Callable[[], object], float]] = []  # of a process: (a step, its worth)
_settings = contextlib.ExitStack()


def _start(make: Callable, arguments: tuple, threads: dict[str, str]) -> None:
    os.environ.update(threads)
    quiet_tensorflow(training=True)
    _work.append(make(*arguments))


def _turn(seconds: float) -> float:
    """The worth of the steps that `seconds` hold, a second; at least one step."""
    return a_second(*_work[0], seconds)


def recipe_for(name: str, precision: str = "auto") -> Recipe:
    """Row 6's recipe for the network of the recipe `name`: the same optimizer on both sides."""
    settings = {"spec": Recipe.named(name).spec, "batch_size": NETWORKS[name]}
    return Recipe.named("table1-06").replace(precision=precision, **settings)


def training(name: str, precision: str, file: Path) -> tuple[Callable[[], object], int]:
    """A training step, as `fit` makes them, and its images."""
    from kerasresnet import machine
    from kerasresnet.profile.steps import training_step

    recipe = recipe_for(name, precision)
    with np.load(file) as data:
        images, labels = data["images"], np.eye(10, dtype="float32")[data["labels"]]
    # For as long as this process lives: a step runs under the settings of its moment.
    _settings.enter_context(machine.training_precision(machine.resolve_precision(recipe.precision)))
    return training_step(recipe, images, labels), recipe.batch_size


def multiplying(precision: str) -> tuple[Callable[[], object], float]:
    """A multiplication of two matrices, and its GFLOP."""
    from kerasresnet.profile.steps import matrix_products

    return matrix_products(precision)


def torch_settings(name: str, precision: str, file: Path, cores: int) -> dict[str, object]:
    from kerasresnet.network.build import CIFAR10_MEAN, CIFAR10_STD

    spec = recipe_for(name).spec
    blocks = [
        {
            "channels": block.channels,
            "conv_kernel": block.conv_kernel,
            "stride": block.stride,
            "shortcut_kernel": block.shortcut_kernel,
            "projects": block.projects,
        }
        for stage in spec.stages
        for block in [stage.first] + [stage.rest] * (stage.blocks - 1)
    ]
    network = {"stem": spec.stem, "stem_kernel": spec.stem_kernel, "blocks": blocks, "classes": 10}
    return {
        "network": network,
        "parameters": count_parameters(spec),
        "precision": precision,
        "batch_size": NETWORKS[name],
        "images": str(file),
        "normalisation": [[255 * value for value in row] for row in (CIFAR10_MEAN, CIFAR10_STD)],
        "cores": cores,
    }


def contestants(name: str, file: Path, options: Options) -> dict[str, Ours | PyTorch]:
    whole = dict.fromkeys(THREADS, str(options.cores))  # what TensorFlow chooses by itself
    found = {
        FLOAT32: Ours(training, name, "float32", file),
        BFLOAT16: Ours(training, name, "bfloat16", file),
        AUTO: Ours(training, name, "auto", file),
        WHOLE: Ours(training, name, "bfloat16", file, threads=whole),
        PEAK_FLOAT32: Ours(multiplying, "float32", threads=whole),
        PEAK_BFLOAT16: Ours(multiplying, "bfloat16", threads=whole),
    }
    if has_torch(options.torch_python):
        for row, precision in ((TORCH_FLOAT32, "float32"), (TORCH_BFLOAT16, "bfloat16")):
            settings = torch_settings(name, precision, file, options.cores)
            found[row] = PyTorch(options.torch_python, settings)
    return found


def has_torch(python: Path) -> bool:
    return not subprocess.run([python, "-c", "import torch, numpy"], capture_output=True).returncode


def run_rounds(found: dict[str, Ours | PyTorch], options: Options) -> dict[str, list[float]]:
    """Images a second (GFLOP a second for the matrix products) of each turn."""
    rates = {name: [] for name in found}
    for _ in range(options.rounds):
        for name, contestant in found.items():
            rates[name].append(contestant.turn(options.seconds))
    return rates


def print_table(name: str, rates: dict[str, list[float]]) -> None:
    spec = recipe_for(name).spec
    middle = {row: statistics.median(values) for row, values in rates.items()}
    gflop = 6 * count_macs(spec) / 1e9
    print(f"\n{spec.to_text()}, batches of {NETWORKS[name]}, {gflop:.2f} GFLOP an image")
    for row, rate in middle.items():
        if row in (PEAK_FLOAT32, PEAK_BFLOAT16):
            print(f"{row:30} {rate:8,.0f} GFLOP/s")
            continue
        peak = PEAK_FLOAT32 if "float32" in row else PEAK_BFLOAT16
        against = f" {rate / middle[TORCH_BFLOAT16]:5.2f} ×" if TORCH_BFLOAT16 in middle else ""
        print(f"{row:30} {rate:8,.1f} /s {rate * gflop / middle[peak]:5.0%} of the peak{against}")
    if TORCH_BFLOAT16 in middle:
        ratio = middle[AUTO] / middle[TORCH_BFLOAT16]
        print(
            f"{'yes' if ratio >= 1 else 'NO':3} {AUTO} is {ratio:.2f} × {TORCH_BFLOAT16} (goal: 1)"
        )


def main() -> None:
    options = tyro.cli(Options, prog="python benchmarks/train_step.py")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    quiet_tensorflow()
    from kerasresnet.data import load_data

    data = load_data("cifar10", options.data_dir)
    if not has_torch(options.torch_python):
        print(f"PyTorch is left out: {options.torch_python} has none (see --torch-python)")
    rates, versions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npz"
        np.savez(file, images=data.x_train[:10_000], labels=data.y_train[:10_000])
        for name in NETWORKS:
            found = contestants(name, file, options)
            try:
                rates[name] = run_rounds(found, options)
            finally:
                for contestant in found.values():
                    contestant.end()
            if isinstance(pytorch := found.get(TORCH_BFLOAT16), PyTorch):
                versions["torch"] = pytorch.version
            print_table(name, rates[name])
    if options.out:
        write_results(options, rates, versions)


def write_results(options: Options, rates: dict, torch: dict[str, str]) -> None:
    """Everything measured, with the machine and the versions, as JSON at `options.out`."""
    from kerasresnet.disk import write_json
    from kerasresnet.machine import describe_device
    from kerasresnet.run import versions

    networks = {
        name: {
            "spec": recipe_for(name).spec.to_text(),
            "batch_size": NETWORKS[name],
            "gflop_an_image": round(6 * count_macs(recipe_for(name).spec) / 1e9, 4),
            "rates": {
                row: [float(f"{value:.4g}") for value in values] for row, values in found.items()
            },
        }
        for name, found in rates.items()
    }
    facts = {"device": describe_device(), "rounds": options.rounds, "seconds": options.seconds}
    write_json(options.out, facts | {"networks": networks, "versions": versions() | torch})


if __name__ == "__main__":
    main()
