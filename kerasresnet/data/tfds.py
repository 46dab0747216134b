"""Image-classification sets of TensorFlow Datasets, as TFDS' own reader gives them."""

from __future__ import annotations

import contextlib
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.data.cifar10 import find_data_dir, refuse_strangers
from kerasresnet.data.download import SourceError, probe
from kerasresnet.data.images import ImageData
from kerasresnet.data.resize import resized
from kerasresnet.data.split import TEST_SHARE, set_test_aside
from kerasresnet.errors import KerasResNetError, UsageError, first_line, unknown

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def load_tfds(
    dataset: str,
    size: tuple[int, int],
    *,
    data_dir: str | Path | None = None,
    split_seed: int = 0,
    name: str | None = None,
    verbose: bool = True,
) -> ImageData:
    """The set `dataset` (NAME or NAME/CONFIG of TFDS), scaled to `size` (height, width), in memory.

    It is read where it is prepared; else TFDS fetches it first, if its source answers. The splits
    are train, test, and validation; where none is to test with, a fifth of every class is set
    aside. `name` is what the data is called (default: `dataset`).

    Raises:
        UsageError: an unknown set, or one that is not of uint8 images with one label.
        KerasResNetError: it is not here and its source does not answer, or it is damaged.
    """
    builder = find_builder(dataset, data_dir)
    image, label, channels = features_of(builder, dataset)
    if data_dir and not builder.is_prepared():
        refuse_strangers(find_data_dir(data_dir))
    prepare(builder, dataset, verbose=verbose)
    splits = builder.info.splits
    parts = {}
    for part, names in {"train": ("train",), "val": ("validation",), "test": ("test",)}.items():
        split = next((n for n in names if n in splits and splits[n].num_examples), None)
        if split:
            x, y = _read(builder, split, (image, label), size, channels)
            if (y >= 0).all():  # some sets keep the labels of their test images to themselves
                parts[part] = x, y
    if "train" not in parts:
        raise UsageError(f"tfds {dataset} has no split train; it has {', '.join(splits)}")
    how = "as it is divided"
    if "test" not in parts:
        x, y = parts["train"]
        train, test = set_test_aside(y, split_seed)
        parts |= {"train": (x[train], y[train]), "test": (x[test], y[test])}
        how = f"{TEST_SHARE:.0%} of each class set aside to test (split seed {split_seed})"
    there = builder.info.features[image].shape
    native = "x".join("any" if n is None else str(n) for n in there[:2])
    height, width = parts["train"][0].shape[1:3]
    return ImageData(
        name or f"tfds:{dataset.replace('/', ':')}",
        *parts["train"],
        *parts["test"],
        tuple(builder.info.features[label].names),
        f"TFDS {builder.info.full_name} in {builder.data_dir}, {height}x{width} from {native}, "
        f"{how}",
        *parts.get("val", (None, None)),
        own_statistics=True,
    )


def peek_tfds(dataset: str, data_dir: str | Path | None = None) -> tuple[int, int, int | None]:
    """Classes, channels and (where it is prepared without need of a split) training images."""
    builder = find_builder(dataset, data_dir)
    _, label, channels = features_of(builder, dataset)
    splits = builder.info.splits
    count = splits["train"].num_examples if "train" in splits else None
    if count and "test" not in splits:
        count = round(count * (1 - TEST_SHARE))
    return builder.info.features[label].num_classes, channels, count


def find_builder(dataset: str, data_dir: str | Path | None = None) -> tfds.core.DatasetBuilder:
    """TFDS' builder, from its code or from a folder that it wrote. Raises `UsageError`."""
    import tensorflow_datasets as tfds

    root = find_data_dir(data_dir)
    try:
        return tfds.builder(dataset, data_dir=root)
    except tfds.core.DatasetNotFoundError:
        name = dataset.partition("/")[0]
        known = tfds.list_builders(with_community_datasets=False)  # the others ask a server
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"TFDS has no data set {name!r}, and {root} none of that name{hint}"
        ) from None
    except Exception as error:  # an unknown configuration, a version that is gone, a damaged file
        reason = _no_configuration(dataset) or first_line(error)
        raise UsageError(f"TFDS cannot open {dataset!r}: {reason}") from None


def _no_configuration(dataset: str) -> str | None:
    """The sentence for a configuration that TFDS' set has not; None where that is not it."""
    import tensorflow_datasets as tfds

    name, _, asked = dataset.partition("/")
    try:
        known = list(tfds.builder_cls(name).builder_configs)
    except Exception:  # a set that TFDS has no code for
        return None
    if asked in ("", *known):
        return None
    return unknown("configuration", asked, known) if known else f"{name} has no configurations"


def features_of(builder: tfds.core.DatasetBuilder, dataset: str) -> tuple[str, str, int]:
    """The names of image and label, and the image's channels. Raises `UsageError`."""
    import tensorflow_datasets as tfds

    found = dict(builder.info.features)
    images = [k for k, v in found.items() if isinstance(v, tfds.features.Image)]
    labels = [k for k, v in found.items() if isinstance(v, tfds.features.ClassLabel)]
    image, label = builder.info.supervised_keys or (None, None)
    image = image if image in images else next((k for k in ("image", *images) if k in images), None)
    label = label if label in labels else next((k for k in ("label", *labels) if k in labels), None)
    fits = image and label and found[image].np_dtype == np.uint8
    if not fits or found[image].shape[-1] not in (1, 3):
        raise UsageError(
            f"tfds:{dataset} is no image classification as we take it (uint8 images of 1 or 3 "
            f"channels, one class label): it has {', '.join(map(str, found))}"
        )
    return image, label, found[image].shape[-1]


def prepare(builder: tfds.core.DatasetBuilder, dataset: str, *, verbose: bool = True) -> None:
    """Let TFDS fetch the set where it is not here. Raises `KerasResNetError`."""
    import tensorflow_datasets as tfds

    if builder.is_prepared():
        return
    try:
        # TFDS itself would try for minutes.
        for url in list(getattr(builder, "url_infos", None) or ())[:1]:
            probe(url)
        with contextlib.ExitStack() as stack:
            if not verbose:
                tfds.disable_progress_bar()
                stack.callback(tfds.enable_progress_bar)
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except Exception as error:  # TFDS and TensorFlow raise a dozen types
        reason = str(error) if isinstance(error, SourceError) else first_line(error)
        raise KerasResNetError(
            f"{dataset} is not prepared in {Path(builder.data_dir).parent} and cannot be fetched "
            f"({reason}); try again with a network, or name a folder where TFDS has it with "
            "--data-dir"
        ) from None


def _read(
    builder: Any, split: str, keys: tuple[str, str], size: tuple[int, int], channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, H, W, C] and labels int32 [N] of one split, in the order of its files."""
    import tensorflow_datasets as tfds

    image, label = keys
    count = builder.info.splits[split].num_examples
    x = np.empty((count, *size, channels), np.uint8)
    y = np.empty(count, np.int32)
    try:
        dataset = builder.as_dataset(split=split, decoders=tfds.decode.PartialDecoding([*keys]))
        number = -1
        for number, example in enumerate(tfds.as_numpy(dataset)):
            x[number] = resized(example[image][None], size)[0]
            y[number] = example[label]
        if number + 1 != count:
            raise ValueError(f"it holds {number + 1:,} of {count:,} images of {split}")
    except Exception as error:  # TFDS and TensorFlow raise a dozen types for a damaged folder
        raise KerasResNetError(
            f"the prepared data set in {builder.data_dir} is damaged ({first_line(error)}); delete "
            "that folder and run again, it will be made anew"
        ) from None
    return x, y
