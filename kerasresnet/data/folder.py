"""A folder of class folders, with train/, val/ and test/ above them or not, as a listing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kerasresnet.data.listing import Listing, make_listing
from kerasresnet.data.pixels import SUFFIXES, shown
from kerasresnet.errors import UsageError

# What others call the parts.
PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def list_folder(root: Path) -> Listing:
    """The pictures below `root`: root/class/…, or root/train/class/… with val/ and test/ beside.

    A picture's class is the folder of its part that it lies in, at any depth below; hidden files
    and links to folders are left out. Raises `UsageError` for what is no such folder, and for one
    that may not be read.
    """
    folders = _folders(root)
    if not folders:
        kinds = ", ".join(sorted(SUFFIXES))
        raise UsageError(
            f"{shown(str(root))} holds no class folders: put the pictures ({kinds}) of each class "
            "into a folder of that name"
        )
    names = {folder.name.lower(): folder for folder in folders}
    if "train" not in names or not _folders(names["train"]):
        return make_listing(root, _rows("train", folders))
    if strange := sorted(set(names) - set(PART_NAMES)):
        raise UsageError(
            f"{shown(str(root))} has train/ with class folders, and {shown(strange[0])}/ beside "
            "it, which is no part; leave train/, val/ and test/ alone there"
        )
    rows: list[tuple[str, Path, str]] = []
    for name, folder in names.items():
        rows += _rows(PART_NAMES[name], _folders(folder))
    return make_listing(root, rows)


def _rows(part: str, folders: list[Path]) -> Iterator[tuple[str, Path, str]]:
    for folder in folders:
        pictures = list(_pictures(folder))
        if not pictures and part == "train":
            raise UsageError(
                f"{shown(str(folder))} holds no pictures (files that end in "
                f"{', '.join(sorted(SUFFIXES))}); add some, or remove the folder"
            )
        yield from ((part, path, folder.name) for path in pictures)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir() and not _hidden(p.name))
    except OSError as error:
        raise _closed(error) from None


def _pictures(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _closed(error)

    for parent, below, names in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not _hidden(name))
        for name in names:
            if not _hidden(name) and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _closed(error: OSError) -> UsageError:
    return UsageError(f"cannot read {shown(str(error.filename))}: {error.strerror}")
