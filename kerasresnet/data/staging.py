"""A folder for work in progress: it becomes the real one by a rename, or it vanishes."""

import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from kerasresnet.errors import KerasResNetError, UsageError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def staging(data_dir: Path, needed_bytes: int) -> Iterator[Path]:
    """An empty folder inside `data_dir`, removed at the end, whatever happens.

    What a killed process left there is never read, and is removed by the next one.

    Raises:
        UsageError: `data_dir` cannot be written to.
        KerasResNetError: fewer than `needed_bytes` are free, or writing fails.
    """
    folder = _make(data_dir, needed_bytes)
    try:
        yield folder
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise KerasResNetError(
                f"The disk ran full while the data was written to {data_dir}; "
                f"free {_megabytes(needed_bytes)} or choose another folder with --data-dir."
            ) from error
        raise KerasResNetError(f"Writing the data to {data_dir} failed: {error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, final: Path) -> None:
    """Rename a finished folder into place; where another process was faster, its folder stays."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _make(data_dir: Path, needed_bytes: int) -> Path:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(data_dir)
        free = shutil.disk_usage(data_dir).free
        if free < needed_bytes:
            raise KerasResNetError(
                f"The data needs {_megabytes(needed_bytes)} in {data_dir}, "
                f"{_megabytes(free)} are free; choose another folder with --data-dir."
            )
        return Path(tempfile.mkdtemp(prefix=f"{_own_prefix()}{os.getpid()}-", dir=data_dir))
    except OSError as error:
        raise UsageError(
            f"Cannot write to the data folder {data_dir} ({error.strerror}); "
            "choose another with --data-dir or TFDS_DATA_DIR."
        ) from error


def _own_prefix() -> str:
    # Process numbers mean something on one host only, and a folder may be shared by several.
    return f".incomplete-{socket.gethostname()}-"


def _remove_leftovers(data_dir: Path) -> None:
    for folder in data_dir.glob(f"{_own_prefix()}*"):
        owner = re.match(r"(\d+)-", folder.name.removeprefix(_own_prefix()))
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
