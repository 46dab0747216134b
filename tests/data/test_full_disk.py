"""Data that is prepared on a disk which is full at any write: whole, or one line and nothing."""

import os

import numpy as np
import pytest
from small_disks import empty, leave

from kerasresnet.data import prepare
from kerasresnet.data.__main__ import write_pictures
from kerasresnet.data.catalog import CIFAR10_CLASSES
from kerasresnet.data.decoded import decoded
from kerasresnet.data.images import ImageData
from kerasresnet.data.sources import Source
from kerasresnet.disk import NoRoom
from kerasresnet.errors import KerasResNetError


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return ImageData(
        "cifar10",
        x_train=rng.integers(0, 256, (20, 32, 32, 3), np.uint8),
        y_train=rng.integers(0, 10, 20, np.int32),
        x_test=rng.integers(0, 256, (8, 32, 32, 3), np.uint8),
        y_test=rng.integers(0, 10, 8, np.int32),
        class_names=CIFAR10_CLASSES,
        source="random numbers",
    )


def test_cifar10_is_prepared_whole_or_not_at_all(small_disk, images):
    data_dir = small_disk / "tfds"
    facts = prepare.Facts(20, 8, tuple(images.x_train.mean(axis=(0, 1, 2)) / 255))
    settings = {"sources": [Source("memory", lambda folder, progress: images)], "facts": facts}
    for free in (0, 8_000, 60_000):  # its pictures take 86,000 bytes
        leave(free, small_disk)
        with pytest.raises(KerasResNetError, match=r"the disk ran full .* choose another folder"):
            prepare.prepare_cifar10(data_dir, needed_bytes=0, verbose=False, **settings)
        assert os.listdir(data_dir) in ([], ["cifar10"])
        assert not list(data_dir.glob("cifar10/*"))
    leave(100_000, small_disk)
    with pytest.raises(KerasResNetError, match=r"needs 320 MB in .*, 0 MB are free"):
        prepare.prepare_cifar10(data_dir, verbose=False, **settings)
    empty(small_disk)
    prepare.prepare_cifar10(data_dir, needed_bytes=0, verbose=False, **settings)
    assert (data_dir / "cifar10" / prepare.VERSION / "dataset_info.json").is_file()


def test_pictures_are_decoded_whole_or_not_at_all(small_disk, images, tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{number}.png" for number in range(20)]
    for path, image in zip(paths, images.x_train, strict=True):
        Image.fromarray(image).save(path)
    asked = {"what": "pictures", "data_dir": small_disk / "tfds"}
    leave(0, small_disk)
    with pytest.raises(KerasResNetError, match="the data needs 0 MB"):
        decoded(paths, (32, 32), 3, **asked)
    leave(15 * 4096, small_disk)  # enough for the pixels, and not for what is said of them
    with pytest.raises(KerasResNetError, match=r"disk ran full|disk is full"):
        decoded(paths, (32, 32), 3, **asked)
    assert not list((small_disk / "tfds" / ".pictures").iterdir())
    empty(small_disk)
    found, _ = decoded(paths, (32, 32), 3, **asked)
    np.testing.assert_array_equal(found[:], images.x_train)


def test_pictures_are_written_whole_or_not_at_all(small_disk, images):
    out = small_disk / "pictures"
    for free in (0, 8_000, 60_000):
        leave(free, small_disk)
        with pytest.raises(NoRoom, match=f"the disk is full: there is no room for {out}; free"):
            write_pictures(images, out)
        assert os.listdir(small_disk) == ["filler"]
    empty(small_disk)
    assert write_pictures(images, out) == 28
