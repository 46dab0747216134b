"""The data sets by name."""

from pathlib import Path

from kerasresnet.data.cifar10 import load_cifar10
from kerasresnet.data.digits import load_digits
from kerasresnet.data.images import ImageData
from kerasresnet.errors import UsageError

DATASETS: tuple[str, ...] = ("cifar10", "digits")


def load_data(
    name: str = "cifar10", data_dir: str | Path | None = None, *, verbose: bool = True
) -> ImageData:
    """All images and labels of a data set, in memory.

    `cifar10` is read from `data_dir`, or else from the folder in the variable TFDS_DATA_DIR, or
    else from `~/tensorflow_datasets`; where it is not prepared yet, it is downloaded first.
    `digits` is part of scikit-learn and needs neither a network nor a folder.

    Raises:
        UsageError: an unknown name, or a folder that cannot be written to.
        KerasResNetError: no source of the images answered, or the disk is full.
    """
    if name == "cifar10":
        return load_cifar10(data_dir, verbose=verbose)
    if name == "digits":
        return load_digits()
    raise UsageError(f"Unknown data set {name!r}; known are: {', '.join(DATASETS)}.")
