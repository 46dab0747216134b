"""Which pictures there are, in which class and part, before any of them is decoded."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasresnet.data.pixels import shown
from kerasresnet.errors import UsageError

PARTS = ("train", "val", "test")
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # Unicode's controls, halves, and ends of lines


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder or a table: paths, and labels int32, of each part that is there.

    `root` is what was asked for; labels are places in `class_names`; `left_out` says what else lies
    there, "" where nothing does.
    """

    root: Path
    class_names: tuple[str, ...]
    parts: dict[str, tuple[list[Path], np.ndarray]]
    left_out: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any path, label or part, not with pixels."""
        digest = hashlib.sha256("\0".join(self.class_names).encode("utf-8", "surrogateescape"))
        for part, (paths, labels) in sorted(self.parts.items()):
            for path, label in zip(paths, labels, strict=True):
                line = f"\0{part}\0{_relative(path, self.root)}\0{label}"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def make_listing(root: Path, rows: Iterable[tuple[str, Path, str]]) -> Listing:
    """The listing of rows (part, path, class name), with classes sorted by name.

    Raises `UsageError` for no picture, fewer than two classes, a class with fewer than two
    training pictures, classes of one name, or a class that only the other parts have.
    """
    rows = sorted(rows, key=lambda row: (row[0], str(row[1])))
    if not rows:
        raise UsageError(f"{shown(str(root))} holds no pictures")
    train_names = sorted({name for part, _, name in rows if part == "train"})
    if extra := sorted({name for _, _, name in rows} - set(train_names)):
        raise UsageError(
            f"{shown(str(root))}: {_listed(extra)} has no training picture, and pictures to "
            "validate or test; add some, or take that class out"
        )
    check_class_names(train_names, root)
    numbers = {name: number for number, name in enumerate(train_names)}
    parts = {}
    for part in PARTS:
        mine = [row for row in rows if row[0] == part]
        if mine:
            labels = np.array([numbers[name] for _, _, name in mine], np.int32)
            parts[part] = [path for _, path, _ in mine], labels
    check_counts(parts["train"][1], train_names, str(root))
    return Listing(root, tuple(train_names), parts)


def check_class_names(names: list[str], root: Path) -> None:
    """Raises `UsageError` for fewer than two classes, or names that are one, or that no file takes.

    Two names are one where they differ in case, in spaces around them, or in how Unicode composes
    their letters: on another file system they would be one folder.
    """
    if len(names) < 2:
        raise UsageError(
            f"{shown(str(root))} has one class, {shown(names[0])!r}, and a network tells at least "
            "two apart; give a folder that holds a folder for each class"
        )
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip() or any(unicodedata.category(c) in _NO_TEXT for c in name):
            raise UsageError(
                f"{shown(str(root))}: a class is called {name!r}, and a name is one line of "
                "text; rename it"
            )
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())
        if key in seen:
            raise UsageError(
                f"{shown(str(root))}: the classes {seen[key]!r} and {name!r} have one name but for "
                "case, spaces or composed letters; rename one, or put their pictures together"
            )
        seen[key] = name


def check_counts(labels: np.ndarray, class_names: Iterable[str], root: str) -> None:
    """Raises `UsageError` for a class with fewer than two training pictures."""
    counts = np.bincount(labels, minlength=len(tuple(class_names)))
    few = [f"{name} ({n})" for name, n in zip(class_names, counts, strict=True) if n < 2]
    if few:
        raise UsageError(
            f"{shown(root)}: a class needs two pictures at least, to train on one and check with "
            f"the other; too few has {_listed(few)}"
        )


def _relative(path: Path, root: Path) -> str:
    base = root if root.is_dir() else root.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _listed(names: list[str], most: int = 5) -> str:
    text = ", ".join(shown(name) for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
