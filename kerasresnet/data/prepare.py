"""Make CIFAR-10's standard TFDS folder, all of it or nothing."""

import contextlib
import errno
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kerasresnet.data.download import SourceError
from kerasresnet.data.images import ImageData
from kerasresnet.data.sources import SOURCES, Source
from kerasresnet.data.staging import staging
from kerasresnet.disk import publish
from kerasresnet.errors import KerasResNetError

VERSION = "3.0.2"  # of TFDS's cifar10
NEEDED_BYTES = 320_000_000  # measured at the peak: 278 MB, npm's copy and ours of the archive


@dataclass(frozen=True)
class Facts:
    """What the right images must have: counts, and means of the training channels in 0…1."""

    train: int
    test: int
    channel_means: tuple[float, float, float]


CIFAR10 = Facts(50_000, 10_000, (0.49139968, 0.48215841, 0.44653091))


def prepare_cifar10(
    data_dir: Path,
    *,
    sources: Sequence[Source] = SOURCES,
    facts: Facts = CIFAR10,
    needed_bytes: int = NEEDED_BYTES,
    verbose: bool = True,
) -> None:
    """Download CIFAR-10 and write `data_dir/cifar10/3.0.2`, which `tfds.load` reads.

    The folder appears complete or not at all. Several processes may do this at once.

    Raises:
        UsageError: `data_dir` cannot be written to.
        KerasResNetError: no source gave the images, or the disk is full.
    """
    with staging(data_dir, needed_bytes) as folder, progress_bars(verbose) as progress:
        data = first_that_answers(sources, facts, folder, progress)
        write_tfds(data, folder, progress)
        (data_dir / "cifar10").mkdir(exist_ok=True)
        publish(folder / "cifar10" / VERSION, data_dir / "cifar10" / VERSION)


def progress_bars(verbose: bool) -> Progress:
    """Bars on the standard error stream, so that a command's output stays clean."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        disable=not verbose,
    )


def first_that_answers(
    sources: Sequence[Source], facts: Facts, folder: Path, progress: Progress
) -> ImageData:
    """The images of the first source that works, checked against `facts`.

    Raises:
        KerasResNetError: names each source and why it failed.
    """
    failures = []
    for number, source in enumerate(sources):
        part = folder / str(number)
        part.mkdir()
        try:
            data = source.fetch(part, progress)
            check_facts(data, facts)
        except SourceError as error:
            failures.append(f"{source.name}: {error}")
            if progress.live.is_started:
                progress.console.print(f"Not from {failures[-1]}.", soft_wrap=True)
        else:
            return data
    raise KerasResNetError(
        f"CIFAR-10 could not be downloaded ({'; '.join(failures)}); try again with a network, "
        "name a folder where TFDS has it with --data-dir, or use --data digits"
    )


def check_facts(data: ImageData, facts: Facts) -> None:
    """Compare counts and channel means.

    Raises:
        SourceError: says which differs.
    """
    counts = (len(data.x_train), len(data.x_test))
    if counts != (facts.train, facts.test):
        raise SourceError(
            f"it holds {counts[0]} training and {counts[1]} test images "
            f"instead of {facts.train} and {facts.test}"
        )
    means = data.x_train.mean(axis=(0, 1, 2)) / 255
    if not np.allclose(means, facts.channel_means, rtol=0, atol=1e-6):
        raise SourceError(f"its channel means are {means} instead of {facts.channel_means}")


def write_tfds(data: ImageData, data_dir: Path, progress: Progress) -> None:
    """Write the images as TFDS does, below `data_dir`, with TFDS's own keys, names and types."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    task = progress.add_task("Writing the TFDS folder", total=len(data.x_train) + len(data.x_test))

    def examples(part: str, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict]]:
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"id": f"{part}_{key:05d}", "image": image, "label": int(label)}
            progress.advance(task)

    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=data.image_shape),
        "label": tfds.features.ClassLabel(names=data.class_names),
    }
    builder = tfds.dataset_builders.AdhocBuilder(
        name="cifar10",
        version=VERSION,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            "train": examples("train", data.x_train, data.y_train),
            "test": examples("test", data.x_test, data.y_test),
        },
        data_dir=data_dir,
        description=f"CIFAR-10, written by kerasresnet from {data.source}.",
    )
    # TFDS would otherwise fetch a copy of its own from a server.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what the bars show
            builder.download_and_prepare(download_config=config)
    except (RuntimeError, tf.errors.ResourceExhaustedError) as error:
        # TFDS wraps what TensorFlow raises.
        if isinstance(error.__cause__ or error, tf.errors.ResourceExhaustedError):
            raise OSError(errno.ENOSPC, "no space left on the disk") from error
        raise
    except OSError as error:
        if "Not enough disk space" in str(error):  # TFDS looks first, and gives no number
            raise OSError(errno.ENOSPC, "no space left on the disk") from error
        raise
    finally:
        tfds.enable_progress_bar()
