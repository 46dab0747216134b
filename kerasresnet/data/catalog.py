"""The data sets by name: a row each."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from kerasresnet.errors import UsageError, unknown

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
RESEARCH = "published without a licence, for research; its images are others' photographs."


@dataclass(frozen=True)
class DataSet:
    """One row: what is known of a data set before anything of it is loaded."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels, as it comes
    classes: int
    train_images: int
    recipe: str  # the default one
    licence: str
    class_names: tuple[str, ...] | None = None  # None: they come with the images
    tfds: str | None = None  # NAME or NAME/CONFIG of TFDS
    loader: str | None = None  # module:function of its own; None: kerasresnet.data.tfds


CATALOG = {
    row.name: row
    for row in (
        DataSet(
            name="cifar10",
            image_shape=(32, 32, 3),
            classes=10,
            train_images=50_000,
            recipe="quick",
            licence="CIFAR-10 (Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny "
            f"Images): {RESEARCH}",
            class_names=CIFAR10_CLASSES,
            tfds="cifar10",
            loader="kerasresnet.data.cifar10:load_cifar10",
        ),
        DataSet(
            name="digits",
            image_shape=(32, 32, 3),
            classes=10,
            train_images=1_437,
            recipe="digits",
            licence="scikit-learn's digits, from the UCI repository (Alpaydin and Kaynak, 1998): "
            "CC BY 4.0.",
            class_names=tuple("0123456789"),
            loader="kerasresnet.data.digits:load_digits",
        ),
        DataSet(
            name="cifar100",
            image_shape=(32, 32, 3),
            classes=100,
            train_images=50_000,
            recipe="quick",
            licence="CIFAR-100 (Krizhevsky, 2009, Learning Multiple Layers of Features from Tiny "
            f"Images): {RESEARCH}",
            tfds="cifar100",
        ),
        DataSet(
            name="fashion_mnist",
            image_shape=(28, 28, 1),
            classes=10,
            train_images=60_000,
            recipe="quick",
            licence="Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747): MIT.",
            tfds="fashion_mnist",
        ),
        DataSet(
            name="mnist",
            image_shape=(28, 28, 1),
            classes=10,
            train_images=60_000,
            recipe="digits",  # no mirror images
            licence="MNIST (LeCun, Cortes and Burges, 1998): CC BY-SA 3.0, as Keras' pages say.",
            tfds="mnist",
        ),
        DataSet(
            name="svhn",
            image_shape=(32, 32, 3),
            classes=10,
            train_images=73_257,
            recipe="digits",  # no mirror images
            licence="SVHN (Netzer et al., 2011, Reading Digits in Natural Images): for "
            "non-commercial use only.",
            tfds="svhn_cropped",
        ),
        DataSet(
            name="eurosat",
            image_shape=(64, 64, 3),
            classes=10,
            train_images=21_600,  # of 27,000; a fifth is set aside to test
            recipe="quick",
            licence="EuroSAT (Helber et al., 2019, arXiv 1709.00029): MIT; from Copernicus "
            "Sentinel-2 data.",
            tfds="eurosat/rgb",
        ),
    )
}
DATASETS: tuple[str, ...] = tuple(CATALOG)


def row_of(name: str) -> DataSet:
    """The row of a data set. Raises `UsageError`, with the nearest name, for an unknown one."""
    if name not in CATALOG:
        raise UsageError(
            f"{unknown('data set', name, DATASETS)}; your own pictures are a path (a folder, a "
            ".csv or a .parquet), another set of TFDS is tfds:NAME"
        )
    return CATALOG[name]


def licence_of(data: str | None) -> str:
    """What may be done with a data set of that name, as far as we know."""
    return CATALOG[data].licence if data in CATALOG else "see where the data came from"


def own_loader(row: DataSet):
    """The function that loads a row with a loader of its own: (data_dir, verbose=…) → images."""
    module, _, function = row.loader.partition(":")
    return getattr(importlib.import_module(module), function)
