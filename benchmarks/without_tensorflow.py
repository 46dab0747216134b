"""A named recipe trained by JAX alone, where TensorFlow is not installed: on a rented GPU, say.

python benchmarks/without_tensorflow.py --write cifar10.npz               where TensorFlow is
python benchmarks/without_tensorflow.py cifar10.npz row6 --seed 1         there: runs/row6-seed1
python benchmarks/without_tensorflow.py cifar10.npz row6 --matmul         without cuDNN

Recipe, seeds and run directory are `kerasresnet.fit`'s, and so are network, optimizer, average and
augmentation, which runs inside the training step (`augment_on = "device"`). Images come from one
file, as TFDS needs TensorFlow. Pages need plotly; without it results.json is the last file written.

With `--matmul` a convolution is one matrix product over its patches, equal to rounding: under JAX
0.11.2 with cuDNN 9.19 on an H100, cuDNN's own convolutions in bfloat16 failed (LOG.md).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kerasresnet.command import exit_on_error, parse
from kerasresnet.errors import UsageError

os.environ.setdefault("KERAS_BACKEND", "jax")

if TYPE_CHECKING:
    from kerasresnet.data import ImageData

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Options:
    """Train a recipe on JAX, without TensorFlow."""

    images: Annotated[Path, tyro.conf.Positional]
    """An .npz file of CIFAR-10, as --write makes it."""
    recipe: Annotated[str, tyro.conf.Positional] = "quick"
    """A named recipe or a TOML file."""
    seed: int = 0
    runs: Path = Path("runs")
    """Where the run goes: its folder is RECIPE-seedN; one that is there already goes on."""
    write: bool = False
    """Write the file of images instead, from TFDS."""
    matmul: bool = False
    """Convolve by matrix products instead of cuDNN."""


def train(options: Options) -> None:
    from kerasresnet.data import DataRequest
    from kerasresnet.fit.plan import prepare, print_plan
    from kerasresnet.fit.training import tell, train_run
    from kerasresnet.recipe import Recipe
    from kerasresnet.run import Run

    if options.matmul:
        convolve_by_matmul()
    recipe = Recipe.load(options.recipe).replace(augment_on="device")
    data, path = read(options.images), options.runs / f"{recipe.name}-seed{options.seed}"
    if path.exists():
        run = Run.open(path)
    else:
        request = DataRequest.parse("cifar10")
        recipe, data, facts = prepare(recipe, request, options.seed, data=data)
        run = Run.create(path, recipe, facts)
    recipe = run.recipe.replace(precision=run.fact("precision"))
    print_plan(recipe, data, run.facts, run=str(path), export=None)
    try:
        train_run(run, recipe, data, seed=run.fact("seed"))
    except ModuleNotFoundError as error:
        if error.name != "plotly":
            raise
    tell(run, run.results, None)


def read(path: Path) -> ImageData:
    """The images of `path`; raises `UsageError` where it has none."""
    import numpy as np

    from kerasresnet.data import ImageData
    from kerasresnet.data.catalog import CIFAR10_CLASSES

    try:
        with np.load(path) as file:
            arrays, source = [file[name] for name in ARRAYS], str(file["source"])
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{path} is no file of images; --write makes one") from None
    return ImageData("cifar10", *arrays, CIFAR10_CLASSES, source)


def write(path: Path) -> None:
    import numpy as np

    from kerasresnet.data import load_data

    data = load_data("cifar10")
    arrays = {name: getattr(data, name) for name in ARRAYS}
    np.savez_compressed(path, source=data.source, **arrays)


def convolve_by_matmul() -> None:
    """Replace Keras' convolution on JAX, for square kernels and strides without dilation."""
    import jax.numpy as jnp
    import keras.src.backend.jax.nn as backend  # no public place to put one's own
    from keras import ops

    def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", *_: Any) -> Any:
        inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
        stride = strides if isinstance(strides, int) else strides[0]
        size, _, channels, filters = kernel.shape
        if padding == "same":
            short = (
                max((-(-side // stride) - 1) * stride + size - side, 0) for side in sides(inputs)
            )
            inputs = jnp.pad(inputs, [(0, 0), *((n // 2, n - n // 2) for n in short), (0, 0)])
        height, width = ((side - size) // stride + 1 for side in sides(inputs))
        ends = [(n - 1) * stride + 1 for n in (height, width)]
        patches = [
            inputs[:, y : y + ends[0] : stride, x : x + ends[1] : stride]
            for y in range(size)
            for x in range(size)
        ]
        flat = jnp.concatenate(patches, axis=-1).reshape(-1, size * size * channels)
        product = flat @ kernel.astype(flat.dtype).reshape(-1, filters)
        return product.reshape(-1, height, width, filters)

    def sides(images: Any) -> tuple[int, int]:
        return images.shape[1:3]

    backend.conv = conv


def main() -> None:
    with exit_on_error("benchmarks/without_tensorflow.py"):
        options = parse(Options, None, prog="python benchmarks/without_tensorflow.py")
        write(options.images) if options.write else train(options)


if __name__ == "__main__":
    main()
