"""Pictures that do not fit into memory stay in a file, and nothing else is different."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from pictures import photo, write_classes

from kerasresnet import data
from kerasresnet.data import DataRequest, decoded, statistics
from kerasresnet.data.stored import StoredImages, chunks_of, open_images, take, write_images
from kerasresnet.errors import KerasResNetError, UsageError


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (40, 3, 4, 3), np.uint8)


@pytest.fixture
def stored(array, tmp_path):
    write_images(tmp_path / "x.npy", chunks_of(array, 100), array.shape)
    return StoredImages(tmp_path / "x.npy")


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "pictures", {"a": 20, "b": 20, "c": 20})


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where decoded pictures go; a part holds seven of them."""
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "_CHUNK", 7 * 8 * 8 * 3)
    return tmp_path / "cache" / "kerasresnet"


def load(folder, data_dir=None, **settings):
    return DataRequest.parse(str(folder), size=(8, 8), **settings).load(data_dir)


def same(found, wanted):
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(found, name)[:], getattr(wanted, name))
    assert (found.class_names, found.source, found.skipped) == (
        wanted.class_names,
        wanted.source,
        wanted.skipped,
    )
    return isinstance(found.x_train, StoredImages)


def never(*_):
    raise AssertionError("pictures were decoded again")


# An array in a file


@pytest.mark.parametrize(
    "places",
    [7, -1, slice(None), slice(30, 3, -4), slice(5, 5), [3, 3, 0, 39], [[1, 2], [8, 9]]],
    ids=str,
)
def test_what_is_asked_for_is_read_as_an_array_would_give_it(places, stored, array):
    places = np.array(places) if isinstance(places, list) else places
    np.testing.assert_array_equal(stored[places], array[places])
    half = np.arange(40) % 2 == 1
    part, of_array = take(stored, half), take(array, half)
    assert (len(part), part.shape, part.dtype, part.ndim) == (20, (20, 3, 4, 3), np.uint8, 4)
    places = np.asarray(places) % 20 if not isinstance(places, slice) else places
    np.testing.assert_array_equal(part[places], of_array[places])
    np.testing.assert_array_equal(take(part, slice(2, 9))[:], of_array[2:9])
    np.testing.assert_array_equal(np.asarray(part), of_array)


def test_numpy_reads_the_file_and_the_other_way_round(stored, array, tmp_path, no_memory):
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), array)
    np.save(tmp_path / "y.npy", array)
    assert isinstance(open_images(tmp_path / "y.npy"), StoredImages)
    np.testing.assert_array_equal(open_images(tmp_path / "y.npy")[:], array)


def test_what_is_no_whole_array_of_images_is_refused(stored, array, tmp_path):
    whole = (tmp_path / "x.npy").read_bytes()
    np.save(tmp_path / "float.npy", array.astype("float32"))
    for name, content in {
        "cut": whole[:-1],
        "long": whole + b"x",
        "empty": b"",
        "text": b"no",
    }.items():
        (tmp_path / f"{name}.npy").write_bytes(content)
    for name in ("cut", "long", "empty", "text", "float"):
        with pytest.raises(ValueError):
            StoredImages(tmp_path / f"{name}.npy")


def test_a_file_that_is_cut_meanwhile_is_one_line(stored, tmp_path):
    os.truncate(tmp_path / "x.npy", 200)
    with pytest.raises(KerasResNetError, match=r"cannot read .*x\.npy \(it has become shorter\)"):
        stored[30]


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted")
def test_a_file_that_is_deleted_meanwhile_stays_readable(stored, array, tmp_path):
    (tmp_path / "x.npy").unlink()
    np.testing.assert_array_equal(stored[5:9], array[5:9])


# The pipelines


@pytest.mark.parametrize("drop", [True, False])
def test_batches_are_the_same_bit_for_bit(drop, stored, array):
    labels, order = np.arange(40, dtype=np.int32) % 4, np.random.default_rng(1).permutation(40)[:30]

    def noisy(images, targets, seed, *, indices, epoch):
        import tensorflow as tf

        noise = tf.random.stateless_uniform(tf.shape(images), seed, maxval=9, dtype=tf.int32)
        return images + tf.cast(noise + epoch, tf.uint8), targets

    noisy.needs_identity = True
    found = []
    for images in (take(array, order), take(stored, order)):
        settings = {"num_classes": 4, "batch_size": 8}
        train = data.train_dataset(
            *(images, labels[order]),
            **settings,
            seed=3,
            augment=noisy,
            epochs=2,
            drop_remainder=drop,
        )
        evaluated = data.eval_dataset(images, labels[order], **settings)
        found.append([*train.as_numpy_iterator(), *evaluated.as_numpy_iterator()])
        specs = train.element_spec[0].shape, evaluated.element_spec[0].shape
        assert [s[1:] for s in specs] == [(3, 4, 3)] * 2 and specs[0][0] == (8 if drop else None)
    assert len(found[0]) == len(found[1]) == (6 + 4 if drop else 8 + 4)
    for (x, y), (x_again, y_again) in zip(*found, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_batches_without_tensorflow_are_the_same(stored, array):
    from kerasresnet.data.arrays import ArrayBatches, ArrayBatchesInOrder

    labels = np.arange(40, dtype=np.int32) % 4
    settings = {"num_classes": 4, "batch_size": 12}
    for kind, more in ((ArrayBatches, {"seed": 1}), (ArrayBatchesInOrder, {})):
        one, other = (kind(images, labels, **settings, **more) for images in (array, stored))
        assert len(one) == len(other) == (3 if more else 4)
        for step in range(len(one)):
            for a, b in zip(one[step], other[step], strict=True):
                np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.concatenate([other[i][0] for i in range(4)]), array)


def test_splits_and_statistics_are_the_same_and_read_no_more_than_a_part(stored, array):
    labels = np.arange(40, dtype=np.int32) % 4
    whole, parts = (data.train_val_split(x, labels, 8, seed=2) for x in (array, stored))
    for (x, y), (x_again, y_again) in zip(whole, parts, strict=True):
        assert isinstance(x_again, StoredImages)
        np.testing.assert_array_equal(x_again[:], x)
        np.testing.assert_array_equal(y_again, y)
    assert data.train_val_split(stored, labels, 0, seed=2)[1][0].shape == (0, 3, 4, 3)
    assert statistics.channel_statistics(stored) == statistics.channel_statistics(array)
    assert max(len(chunk) for chunk in chunks_of(stored, 100)) == 2


# Pictures


def test_a_folder_is_the_same_from_disk_and_the_second_time_nothing_is_decoded(
    folder, cache, no_memory, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
        wanted = load(folder)
    assert not cache.exists()
    assert same(load(folder), wanted)
    told = capsys.readouterr().err.splitlines()
    (kept,) = cache.iterdir()
    assert len(told) == 2 and f"decoding them into {cache}, 0.00 GB" in told[0]
    assert told[1] == f"{folder}: 0.00 GB of images are in {kept}"
    monkeypatch.setattr(decoded, "decode", never)
    assert same(load(folder), wanted)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_changed_pictures_are_decoded_anew_and_the_old_ones_removed(folder, cache, no_memory):
    before = load(folder)
    (old,) = cache.iterdir()
    photo(30, 20).save(folder / "b" / "003.png")
    after = load(folder)
    (new,) = cache.iterdir()
    assert new != old and before.fingerprint == after.fingerprint
    changed = (before.x_train[:] != after.x_train[:]).any(axis=(1, 2, 3))
    changed = changed.sum() + (before.x_test[:] != after.x_test[:]).any(axis=(1, 2, 3)).sum()
    assert changed == 1
    DataRequest.parse(str(folder), size=(4, 4)).load()
    assert len([*cache.iterdir()]) == 2  # of another size: both may be needed


def test_the_folder_asked_for_is_where_they_go(folder, cache, no_memory, tmp_path, monkeypatch):
    load(folder, tmp_path / "mine")
    assert len([*(tmp_path / "mine" / ".pictures").iterdir()]) == 1 and not cache.exists()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "theirs"))
    load(folder)
    assert (tmp_path / "theirs" / ".pictures").is_dir() and not cache.exists()


def test_bad_pictures_are_told_as_from_memory(folder, cache, no_memory, monkeypatch, capsys):
    (folder / "b" / "004.png").write_bytes(b"no picture")
    with monkeypatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
        wanted = load(folder, on_bad_image="skip")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"1 of 60 pictures of .*004\.png \(is no image"):
            load(folder)
        assert same(load(folder, on_bad_image="skip"), wanted)
    assert "left out: 1 of 60" in capsys.readouterr().err


def test_a_picture_that_may_be_read_now_is_read(folder, cache, no_memory, monkeypatch):
    from pathlib import Path

    real = Path.read_bytes

    def closed(path):
        if path.name == "004.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", closed)
        assert len(load(folder, on_bad_image="skip").skipped) == 3  # one of each class
    assert not load(folder).skipped


def test_grey_pictures_have_one_channel_on_disk_too(tmp_path, cache, no_memory):
    for name in "ab":
        (tmp_path / "grey" / name).mkdir(parents=True)
        for i in range(4):
            photo(30, 20, "L").rotate(90 * i).save(tmp_path / "grey" / name / f"{i}.png")
    assert load(tmp_path / "grey").image_shape == (8, 8, 1)
    whole = tmp_path / "colour.png"
    photo(90, 90).save(whole)
    (tmp_path / "grey" / "a" / "cut.png").write_bytes(whole.read_bytes()[:200])
    assert load(tmp_path / "grey", on_bad_image="skip").image_shape == (8, 8, 1)
    assert load(tmp_path / "grey", channels=3, on_bad_image="skip").image_shape == (8, 8, 3)


# What goes wrong


def test_what_stops_the_decoding_leaves_nothing_that_is_taken_for_whole(
    folder, cache, no_memory, monkeypatch
):
    parts, real = [], decoded.decode

    def interrupted(*arguments):
        parts.append(1)
        if len(parts) > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoded, "decode", interrupted)
        load(folder)
    assert not [*cache.iterdir()]
    assert len(load(folder).y_train) == 48


KILLED = """
import os, sys, psutil
from types import SimpleNamespace
from kerasresnet.data import DataRequest, decoded
psutil.virtual_memory = lambda: SimpleNamespace(available=0)
decoded._CHUNK = 7 * 8 * 8 * 3
parts, real = [], decoded.decode
def decode(*arguments):
    parts.append(1)
    return real(*arguments) if len(parts) < 4 else os._exit(9)
decoded.decode = decode
DataRequest.parse(sys.argv[1], size=(8, 8)).load()
"""


def test_what_a_killed_process_left_is_not_read_and_is_removed(folder, cache, no_memory):
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == 9
    (left,) = cache.iterdir()
    assert left.name.startswith(".incomplete-") and (left / "images.npy").is_file()
    assert len(load(folder).y_train) == 48
    (whole,) = cache.iterdir()
    assert whole != left


@pytest.mark.parametrize("name", ["images.npy", "found.json"])
def test_a_damaged_file_is_made_again(name, folder, cache, no_memory):
    wanted = load(folder).x_train[:]
    (kept,) = cache.iterdir()
    os.truncate(kept / name, 60)
    np.testing.assert_array_equal(load(folder).x_train[:], wanted)


def test_a_full_disk_is_one_line_before_and_while_it_is_written(
    folder, cache, no_memory, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
        with pytest.raises(KerasResNetError, match=r"needs 0 MB in .*choose another folder with"):
            load(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(decoded, "write_images", full)
        with pytest.raises(KerasResNetError, match=r"^the disk ran full .*--data-dir$"):
            load(folder)
    assert not [*cache.iterdir()]
    cache.rmdir()
    cache.touch()
    with pytest.raises(UsageError, match=r"^cannot write to the data folder .*--data-dir"):
        load(folder)
