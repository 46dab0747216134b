"""Disks that are soon full, for root on Linux; elsewhere their tests are skipped."""

import contextlib
import shutil
import subprocess

import pytest


@contextlib.contextmanager
def mounted(folder, megabytes):
    """`folder`, made as a disk of its own; it cannot be renamed, what is in it can."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(line, capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def leave(free, disk):
    """Fill the disk but for so many bytes."""
    (disk / "filler").unlink(missing_ok=True)
    (disk / "filler").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free)))


def empty(disk):
    """Take away what `leave` put there."""
    (disk / "filler").unlink(missing_ok=True)
