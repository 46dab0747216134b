"""How fast a network trains on this machine, and what share that is of what it can multiply.

python -m kerasresnet.profile BB2x64-BN2x100
python -m kerasresnet.profile quick --batch-size 256 --precision float32
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
import psutil
import tyro

from kerasresnet import machine
from kerasresnet.command import exit_on_error, parse, print_facts, waiting_for
from kerasresnet.errors import UsageError
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.profile.steps import a_second, matrix_products, training_step
from kerasresnet.recipe import Recipe
from kerasresnet.show.__main__ import spec_of


@dataclass(frozen=True)
class ProfileOptions:
    """How fast a network trains here: time and memory of a step, images a second, share of peak."""

    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SPEC|RECIPE")]
    """A spec (BB2x64-BN2x100, table1-06), a named recipe (quick) or a recipe's TOML file."""
    batch_size: int = 128
    """Images per step."""
    optimizer: str = "sgd"
    """The optimizer whose step is timed."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the training; auto takes bfloat16 where the hardware multiplies it."""
    rounds: int = 3
    """Turns that training and matrix products take; medians are told."""
    seconds: float = 3.0
    """How long a turn lasts, at least."""
    json: bool = False
    """Print JSON instead of a table."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


@dataclass(frozen=True)
class Profile:
    """What was measured: steps on images in memory, without augmentation."""

    network: str
    parameters: int
    macs: int
    batch_size: int
    precision: str
    device: str
    ms_a_step: float
    images_a_second: float
    memory_mb: float  # at the most, over what the process had before
    gflop_a_second: float  # 6 for each MAC
    peak_gflop_a_second: float  # of matrix products, 2,048 x 2,048, in the same precision
    share_of_peak: float


def check_options(options: ProfileOptions) -> Recipe:
    """The recipe whose steps are timed. Raises `UsageError` for what makes no sense."""
    if options.rounds < 1 or not 0 <= options.seconds <= 3_600:
        raise UsageError(
            "--rounds is 1 or more, --seconds is 0 to 3600, received "
            f"{options.rounds} and {options.seconds:g}"
        )
    return Recipe(
        spec=spec_of(options.network),
        epochs=1,
        batch_size=options.batch_size,
        optimizer=options.optimizer,
        precision=options.precision,
        val_fraction=0,
        keep="last",
    )


def profile(recipe: Recipe, *, rounds: int, seconds: float) -> Profile:
    """Time training steps and matrix products in turns of `seconds`; medians over `rounds`.

    Raises `UsageError` under another backend than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"a profile times TensorFlow's steps, and this is {keras.backend.backend()}; "
            "run it with KERAS_BACKEND=tensorflow"
        )
    spec, batch = recipe.spec, recipe.batch_size
    precision = machine.resolve_precision(recipe.precision)
    before = _memory_now()
    with machine.training_precision(precision):
        step = training_step(recipe, *_images(spec, 2 * batch))
        most = _memory_at_most()
        multiply, gflop = matrix_products(precision)
        rates, peaks = [], []
        for _ in range(rounds):
            rates.append(a_second(step, batch, seconds))
            peaks.append(a_second(multiply, gflop, seconds))
    rate, peak = statistics.median(rates), statistics.median(peaks)
    reached = rate * 6 * count_macs(spec) / 1e9
    return Profile(
        network=str(spec),
        parameters=count_parameters(spec),
        macs=count_macs(spec),
        batch_size=batch,
        precision=precision,
        device=machine.describe_device(),
        ms_a_step=1_000 * batch / rate,
        images_a_second=rate,
        memory_mb=(most - before) / 1e6,
        gflop_a_second=reached,
        peak_gflop_a_second=peak,
        share_of_peak=reached / peak,
    )


def _images(spec: ResNetSpec, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise: what a step costs does not depend on what the images show."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, *spec.input_shape), dtype=np.uint8)
    return images, np.eye(spec.classes, dtype="float32")[draw.integers(0, spec.classes, count)]


def _memory_now() -> int:
    """Bytes in use: of the accelerator, or of this process."""
    if machine.has_gpu():
        return _of_gpu("current")
    return psutil.Process().memory_info().rss


def _memory_at_most() -> int:
    """The most bytes that were in use so far."""
    if machine.has_gpu():
        return _of_gpu("peak")
    import resource  # Windows has none, and completes this command's flags all the same

    return 1_024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux


def _of_gpu(which: str) -> int:
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")[which]


def print_profile(found: Profile) -> None:
    """The profile as a table for humans."""
    print_facts(
        {
            "network": found.network,
            "parameters": f"{found.parameters:,}",
            "MACs": f"{found.macs / 1e6:,.1f} M an image",
            "a step": f"{found.ms_a_step:,.1f} ms for {found.batch_size} images",
            "images": f"{found.images_a_second:,.0f} a second",
            "memory": f"{found.memory_mb:,.0f} MB more than before",
            "training": f"{found.gflop_a_second:,.0f} GFLOP/s",
            "matrix products": f"{found.peak_gflop_a_second:,.0f} GFLOP/s in {found.precision}",
            "share of them": f"{found.share_of_peak:.0%}",
            "device": found.device,
        }
    )


def main() -> None:
    with exit_on_error("kerasresnet.profile"):
        options = parse(ProfileOptions, None, prog="python -m kerasresnet.profile")
        recipe = check_options(options)
        with waiting_for("TensorFlow to start"):
            machine.quiet_tensorflow(options.verbose, training=True)
        found = profile(recipe, rounds=options.rounds, seconds=options.seconds)
        print(json.dumps(asdict(found), indent=1)) if options.json else print_profile(found)


if __name__ == "__main__":
    main()
