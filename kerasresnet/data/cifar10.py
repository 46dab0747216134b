"""CIFAR-10 through TFDS: read where it is prepared, prepared where it is not."""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from kerasresnet.data.catalog import CIFAR10_CLASSES
from kerasresnet.data.images import ImageData
from kerasresnet.data.prepare import CIFAR10, VERSION, Facts, prepare_cifar10
from kerasresnet.data.sources import SOURCES, Source
from kerasresnet.errors import KerasResNetError, UsageError


def load_cifar10(
    data_dir: str | Path | None = None,
    *,
    sources: Sequence[Source] = SOURCES,
    facts: Facts = CIFAR10,
    verbose: bool = True,
) -> ImageData:
    """CIFAR-10 from the TFDS folder below `data_dir`, which is made first where there is none.

    Images come in the order of the original files, whatever the order in the folder.

    Raises:
        UsageError: the folder is not a local one, holds something else, or cannot be written to.
        KerasResNetError: no source gave the images, the disk is full, or the folder is damaged.
    """
    root = find_data_dir(data_dir)
    folder = root / "cifar10" / VERSION
    # An empty folder is as good as none: the rename at the end of a preparation replaces it.
    if not folder.exists() or not any(folder.iterdir()):
        if data_dir:
            refuse_strangers(root)
        prepare_cifar10(root, sources=sources, facts=facts, verbose=verbose)
    busy = Console(stderr=True).status("Reading CIFAR-10")
    with busy if verbose else contextlib.nullcontext():
        return read_prepared(folder, facts)


def find_data_dir(data_dir: str | Path | None = None) -> Path:
    """The folder asked for, else the one in TFDS_DATA_DIR, else TFDS's own default.

    Raises:
        UsageError: an address such as gs://… instead of a folder.
    """
    chosen = str(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    if "://" in chosen:
        raise UsageError(f"the data folder is a local one, received {chosen}")
    return Path(chosen).expanduser().absolute()


def refuse_strangers(root: Path) -> None:
    """Keep CIFAR-10 out of a folder of the user's own.

    Raises:
        UsageError: the folder is there, and holds what TFDS does not put into one.
    """
    # A folder that is not there yet, or is closed to us, is told by who writes into it.
    entries = sorted(root.iterdir()) if root.is_dir() and os.access(root, os.R_OK | os.X_OK) else []
    for entry in entries:
        if not entry.name.startswith(".") and not _is_of_tfds(entry):
            raise UsageError(
                f"--data-dir is where TFDS keeps its data sets, and {root} holds {entry.name}; "
                "give an empty folder or a new one; what to train on is said by --data"
            )


def _is_of_tfds(entry: Path) -> bool:
    """Whether this is <name>/<version>, <name>/<config>/<version>, or an empty folder."""
    if not entry.is_dir() or entry.name == "downloads":
        return entry.is_dir()
    inside = [*entry.glob("*"), *entry.glob("*/*")]
    return not inside or any(re.fullmatch(r"\d+\.\d+\.\d+", path.name) for path in inside)


def read_prepared(folder: Path, facts: Facts = CIFAR10) -> ImageData:
    """Images and labels from a folder that TFDS or `prepare_cifar10` wrote.

    Raises:
        KerasResNetError: a file is missing or damaged, or images are missing.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        names = tuple(builder.info.features["label"].names)
        parts = tfds.as_numpy(builder.as_dataset(split=["train", "test"], batch_size=-1))
    except Exception as error:  # TFDS and TensorFlow raise a dozen types for a damaged folder
        raise _damaged(folder, str(error).splitlines()[0]) from error
    if names != CIFAR10_CLASSES:  # without its file, TFDS calls them 0 … 9
        raise _damaged(folder, "label.labels.txt does not name the classes of CIFAR-10")
    (x_train, y_train), (x_test, y_test) = (_in_original_order(part) for part in parts)
    if (len(x_train), len(x_test)) != (facts.train, facts.test):
        raise _damaged(folder, f"it holds {len(x_train)} training and {len(x_test)} test images")
    source = f"TFDS cifar10:{VERSION} in {folder}"
    return ImageData("cifar10", x_train, y_train, x_test, y_test, names, source)


def _in_original_order(part: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(part["id"])  # train_00000, train_00001, …
    return part["image"][order], part["label"][order].astype(np.int32)


def _damaged(folder: Path, reason: str) -> KerasResNetError:
    return KerasResNetError(
        f"the prepared data set in {folder} is damaged ({reason}); "
        "delete that folder and run again, it will be made anew"
    )
