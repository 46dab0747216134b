"""A folder of class folders, with train/, val/ and test/ above them or not, as a listing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kerasresnet.data.listing import Listing, make_listing
from kerasresnet.data.pixels import SUFFIXES, shown
from kerasresnet.errors import UsageError

# What others call the parts.
PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def list_folder(root: Path) -> Listing:
    """The pictures below `root`: root/class/…, or root/train/class/… with val/ and test/ beside.

    A picture's class is the folder of its part that it lies in, at any depth below; hidden files
    and links to folders are left out, and so are pictures beside the class folders and files of
    other kinds, which are counted. Raises `UsageError` for what is no such folder, and for one that
    may not be read.
    """
    folders = _folders(root)
    if not folders:
        kinds = ", ".join(sorted(SUFFIXES))
        raise UsageError(
            f"{shown(str(root))} holds no class folders: put the pictures ({kinds}) of each class "
            "into a folder of that name"
        )
    names = {folder.name.lower(): folder for folder in folders}
    others: Counter[str] = Counter()
    if "train" not in names or not _folders(names["train"]):
        listing = make_listing(root, _rows("train", folders, others))
        return replace(listing, left_out=_left_out([root], others))
    if strange := sorted(set(names) - set(PART_NAMES)):
        raise UsageError(
            f"{shown(str(root))} has train/ with class folders, and {shown(strange[0])}/ beside "
            "it, which is no part; leave train/, val/ and test/ alone there"
        )
    rows: list[tuple[str, Path, str]] = []
    for name, folder in names.items():
        rows += _rows(PART_NAMES[name], _folders(folder), others)
    return replace(make_listing(root, rows), left_out=_left_out([root, *folders], others))


def _left_out(above: list[Path], others: Counter[str]) -> str:
    """What lies beside the class folders that are in `above`, and of other kinds in them."""
    files = [path for root in above for path in root.iterdir() if path.is_file()]
    beside = sum(_is_picture(path.name) for path in files)
    told = [f"pictures beside the class folders ({beside:,})"] if beside else []
    if others:
        kinds = ", ".join(shown(kind) for kind, _ in others.most_common(3))
        told.append(f"files of other kinds ({others.total():,}: {kinds})")
    return ", ".join(told)


def _rows(part: str, folders: list[Path], others: Counter[str]) -> Iterator[tuple[str, Path, str]]:
    """Part, path and class of every picture; `others` counts what is none, by its ending."""
    for folder in folders:
        pictures = list(_pictures(folder, others))
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


def _pictures(folder: Path, others: Counter[str]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _closed(error)

    for parent, below, names in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not _hidden(name))
        for name in names:
            if _is_picture(name):
                yield Path(parent, name)
            elif not _hidden(name):
                others[Path(name).suffix.lower() or "no ending"] += 1


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not _hidden(name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _closed(error: OSError) -> UsageError:
    return UsageError(f"cannot read {shown(str(error.filename))}: {error.strerror}")
