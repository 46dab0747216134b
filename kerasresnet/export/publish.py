"""`<export-dir>/<name>/<version>/`, written aside and renamed: a server sees it whole or not."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kerasresnet.errors import KerasResNetError, UsageError


@contextlib.contextmanager
def aside(home: Path) -> Iterator[Path]:
    """A folder on the same file system, whose name no server takes for a version.

    Raises `KerasResNetError` where it, or what is written into it, cannot be written.
    """
    import tensorflow as tf

    folder = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=home))
        folder.chmod(0o755)  # the server may be another user
        yield folder
    except (OSError, tf.errors.OpError) as error:
        raise KerasResNetError(f"cannot write the export under {home}: {error}") from None
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def refuse_taken(home: Path, version: int | None) -> None:
    """Raises `UsageError` where `version` exists already."""
    if version is not None and (home / str(version)).exists():
        raise UsageError(f"{home / str(version)} exists, and a version is never overwritten")


def publish(folder: Path, home: Path, version: int | None) -> Path:
    """Rename `folder` to a version of `home`; where another export took the number, to the next."""
    _to_disk(folder)
    while True:
        number = version if version is not None else highest_version(home) + 1
        target = home / str(number)
        try:
            # A directory is renamed onto an empty one at most: nobody's version is overwritten.
            os.rename(folder, target)
        except OSError:
            if not target.exists():
                raise
            refuse_taken(home, version)
        else:
            _sync(home)
            return target


def highest_version(home: Path) -> int:
    """The highest version in `home`, 0 where there is none."""
    return max((int(p.name) for p in home.iterdir() if p.name.isdigit()), default=0)


def _to_disk(folder: Path) -> None:
    """A power cut after the rename must not leave a version with empty files."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
