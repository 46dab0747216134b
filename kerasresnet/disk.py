"""Files that outlive a kill, a full disk and a second process: the one place that knows how.

A file is written aside, synced and renamed: whoever reads sees the old one or the new one, whole.
A folder likewise: it is filled aside and becomes the real one by a rename, or it vanishes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import psutil

from kerasresnet.errors import KerasResNetError, UsageError

ASIDE = "aside-"  # what a file is called while it is written
_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(KerasResNetError):
    """A disk is full."""


@contextlib.contextmanager
def locked(
    file: Path, refusal: str, *, wait: float = 0.0, reentrant: bool = False
) -> Iterator[None]:
    """Hold the lock `file` for this process alone; it is made where it is missing, and stays.

    The lock ends with the process, however it ends. A `reentrant` one may be taken again by the
    thread that has it. Raises `UsageError` with `refusal` where another process holds it, after
    `wait` seconds; `KerasResNetError` where the file cannot be opened for writing.
    """
    lock = filelock.FileLock(file, is_singleton=reentrant)
    try:
        file.parent.stat()  # filelock would make it
        lock.acquire(timeout=wait, poll_interval=0.1)
    except filelock.Timeout:
        raise UsageError(refusal) from None
    except OSError as error:
        raise cannot_write(file, error) from None
    try:
        yield
    finally:
        lock.release()


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write aside, sync, rename. Raises `NoRoom` or `KerasResNetError`, with nothing left aside."""
    aside = path.with_name(ASIDE + path.name)
    try:
        if shutil.disk_usage(path.parent).free < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


def checksum(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Raises `KerasResNetError` where the file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise KerasResNetError(f"cannot read {path}: it is nested too deep") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KerasResNetError(f"cannot read {path}: {reason}") from None


def read_toml(path: Path, what: str, instead: str = "") -> dict[str, Any]:
    """What a TOML file says; `what` it should be, and what to give `instead`, stand in the error.

    Raises `UsageError` where it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{what} {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{what} {path} is nested too deep") from None
    except (OSError, ValueError) as error:  # a NUL in the path, an integer of 5,000 digits
        reason, name = getattr(error, "strerror", None) or error, str(path).replace("\0", r"\0")
        raise UsageError(f"cannot read {what} {name}: {reason}{instead}") from None


def made(folder: Path, what: str) -> Path:
    """`folder`, made where it is missing. Raises `UsageError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the {what} directory {folder}: {error.strerror}") from None
    return folder


def check_writable(folder: Path, what: str) -> None:
    """Raises `UsageError` where `folder` could not be made, or written in; leaves nothing there.

    A full disk is no reason: it is told when something is written.
    """
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not os.path.isdir(there):
        raise UsageError(f"cannot make the {what} directory {folder}: {there} is no directory")
    try:
        with tempfile.TemporaryFile(dir=there):  # the system knows why not, os.access does not say
            pass
    except OSError as error:
        if not is_full(error):
            reason = f"{there}: {error.strerror}"
            raise UsageError(f"cannot write in the {what} directory {folder}: {reason}") from None


def is_full(error: BaseException) -> bool:
    """Whether a full disk is what `error` says."""
    return isinstance(error, NoRoom) or getattr(error, "errno", None) in _FULL


def cannot_write(path: Path, error: OSError) -> KerasResNetError:
    """The error for a path that the system refuses to write."""
    if error.errno in _FULL:
        return NoRoom(f"the disk is full: there is no room for {path}; free some")
    return KerasResNetError(f"cannot write {path}: {error.strerror or error}")


@contextlib.contextmanager
def staged(parent: Path, prefix: str) -> Iterator[Path]:
    """An empty folder in `parent`, for `publish` when it is filled; gone at the end in any case.

    What a killed process of this machine left under the same `prefix` is removed first. Raises
    `OSError` where nothing can be written there.
    """
    # Process numbers mean something on one host only, and a folder may be shared by several.
    own = f"{prefix}{socket.gethostname()}-"
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{own}*"):
        owner = re.match(r"(\d+)-", folder.name.removeprefix(own))
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)
    folder = parent / f"{own}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> bool:
    """Rename a finished folder, on disk to its last byte; False where `target` exists already."""
    for path in (*folder.rglob("*"), folder):
        sync(path)
    try:
        # A folder is renamed onto an empty one at most: nothing is ever overwritten.
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return False
    sync(target.parent)
    return True


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut spares them."""
    if os.name == "nt":  # which syncs nothing that is open for reading
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
