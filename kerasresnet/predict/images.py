"""Which images were asked for, and their bytes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kerasresnet.data.pixels import SUFFIXES, ImageError, shown
from kerasresnet.errors import UsageError

STDIN = "-"
_LARGEST_FILE = 256 << 20  # bytes


@dataclass(frozen=True)
class Source:
    """One image that was asked for: a file, standard input, or what was found in its stead."""

    name: str
    path: Path | None = None
    problem: str | None = None

    def read(self) -> bytes:
        """The file's bytes. Raises `ImageError`."""
        if self.problem:
            raise ImageError(self.problem)
        try:
            # Not the file's size: a pipe has none.
            with self.path.open("rb") if self.path else _stdin() as file:
                contents = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise ImageError(error.strerror or str(error)) from None
        if not contents:
            raise ImageError("is empty")
        if len(contents) > _LARGEST_FILE:
            raise ImageError(f"is larger than {_LARGEST_FILE >> 20} MiB")
        return contents


def find_images(arguments: Iterable[str], files_from: str | None = None) -> list[Source]:
    """The images that files, folders, `-` and a list of paths name, in that order.

    Folders are searched through, sorted by name, for files with an image's suffix; hidden ones
    and links to folders are left out. `files_from` is a file of paths, one a line or (as
    `find -print0` writes them) NUL after each, or `-`. Raises `UsageError` where nothing is named
    or standard input is named twice.
    """
    arguments = list(arguments)
    if arguments.count(STDIN) + (files_from == STDIN) > 1:
        raise UsageError("standard input (-) can be read once: as one image or as --files-from")
    listed = _read_list(files_from) if files_from else []
    if not arguments and not listed:
        raise UsageError("no images: name files or folders, - for standard input, or --files-from")
    found = [source for argument in arguments for source in _sources(argument)]
    # In a list, - is a file of that name.
    return found + [source for name in listed for source in _sources(name, stdin=False)]


def _read_list(name: str) -> list[str]:
    try:
        with _stdin() if name == STDIN else open(name, "rb") as file:
            text = os.fsdecode(file.read())
    except OSError as error:
        raise UsageError(f"cannot read the list {name}: {error.strerror}") from None
    return [line for line in (text.split("\0") if "\0" in text else text.splitlines()) if line]


def _sources(argument: str, *, stdin: bool = True) -> Iterator[Source]:
    if stdin and argument == STDIN:
        yield Source("standard input")
        return
    path = Path(argument)
    if not path.is_dir():
        yield Source(shown(argument), path)
        return
    closed: list[OSError] = []
    files = [
        Path(folder) / name
        for folder, _, names in _visible(path, closed)
        for name in sorted(names)
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    ]
    yield from (Source(shown(str(file)), file) for file in files)
    for error in closed:
        yield Source(shown(str(error.filename)), problem=error.strerror)
    if not files and not closed:
        kinds = ", ".join(sorted(SUFFIXES))
        yield Source(shown(argument), problem=f"holds no images (files that end in {kinds})")


def _visible(path: Path, closed: list[OSError]) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, folders, names in os.walk(path, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield folder, folders, names


def _stdin() -> contextlib.nullcontext:
    return contextlib.nullcontext(sys.stdin.buffer)
