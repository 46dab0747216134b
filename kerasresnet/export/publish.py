"""`<export-dir>/<name>/<version>/`, written aside and renamed: a server sees it whole or not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerasresnet import disk
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.runtimes import read_card


@contextlib.contextmanager
def aside(home: Path) -> Iterator[Path]:
    """A folder on the same file system, whose name no server takes for a version.

    Raises `KerasResNetError` where it, or what is written into it, cannot be written.
    """
    import tensorflow as tf

    try:
        # No server takes it for a version; and the server may be another user.
        with disk.staged(home, ".tmp-") as folder:
            folder.chmod(0o755)
            yield folder
    except (OSError, tf.errors.OpError) as error:
        raise KerasResNetError(f"cannot write the export under {home}: {error}") from None


def refuse_taken(home: Path, version: int | None) -> None:
    """Raises `UsageError` where `version` exists already."""
    if version is not None and (home / str(version)).exists():
        raise UsageError(
            f"{home / str(version)} exists, and a version is never overwritten; give another "
            "--version, or leave it out"
        )


def publish(folder: Path, home: Path, version: int | None) -> Path:
    """Rename `folder` to a version of `home`; where another export took the number, to the next."""
    while True:
        number = version if version is not None else highest_version(home) + 1
        if disk.publish(folder, target := home / str(number)):
            return target
        refuse_taken(home, version)


def find_version(home: Path, card: Mapping[str, Any]) -> Path | None:
    """The newest version in `home` whose card says all that `card` does; None without one."""
    for number in sorted(_versions(home), reverse=True):
        with contextlib.suppress(KerasResNetError):  # a damaged card says nothing
            if card.items() <= read_card(home / str(number)).items():
                return home / str(number)
    return None


def highest_version(home: Path) -> int:
    """The highest version in `home`, 0 where there is none."""
    return max(_versions(home), default=0)


def _versions(home: Path) -> list[int]:
    return [int(path.name) for path in home.glob("*") if path.name.isdecimal()]
