"""Your own pictures: a folder or a table, decoded, split where it is not, as a data set."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kerasresnet.data.decode import are_grey
from kerasresnet.data.folder import list_folder
from kerasresnet.data.images import ImageData
from kerasresnet.data.listing import Listing, check_counts
from kerasresnet.data.pixels import shown
from kerasresnet.data.read import OnBadImage, read_pictures
from kerasresnet.data.split import TEST_SHARE, set_test_aside
from kerasresnet.data.stored import take
from kerasresnet.data.table import SUFFIXES, list_table
from kerasresnet.errors import UsageError

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def list_pictures(path: Path) -> Listing:
    """The pictures of a folder, a .csv or a .parquet. Raises `UsageError` for anything else."""
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise UsageError(f"{shown(str(path))} does not exist; --data takes a path that does")
    if path.suffix.lower() not in SUFFIXES:
        hint = "unpack it, and give" if path.suffix.lower() in ARCHIVES else "give"
        raise UsageError(
            f"{shown(str(path))} is no data set; {hint} a folder of class folders, or a .csv or "
            ".parquet of path and label"
        )
    return list_table(path)


def peek_pictures(path: Path) -> tuple[int, int, int]:
    """Classes, channels and training images of `load_pictures`, from names and headers alone."""
    listing = list_pictures(path)
    paths, labels = listing.parts["train"]
    count = len(labels)
    if "test" not in listing.parts:
        count = len(set_test_aside(labels, 0)[0])
    return len(listing.class_names), 1 if are_grey(paths) else 3, count


def load_pictures(
    path: Path,
    size: tuple[int, int],
    *,
    channels: int | None = None,
    on_bad_image: OnBadImage = "refuse",
    split_seed: int = 0,
    data_dir: str | Path | None = None,
    verbose: bool = True,
) -> ImageData:
    """All pictures of a folder or table at `size` (height, width).

    They are in memory or, where it is too small for them, in a file in `data_dir` or a cache.
    Where there is no test part, a fifth of every class is set aside as one, by `split_seed`.
    Raises `UsageError` for what cannot be used, `KerasResNetError` where the disk is too small.
    """
    listing = list_pictures(path)
    counts = {part: len(paths) for part, (paths, _) in listing.parts.items()}
    if verbose and sum(counts.values()) > 5_000:
        print(f"reading {sum(counts.values()):,} pictures of {shown(str(path))}", file=sys.stderr)
    paths = [path for part, _ in listing.parts.values() for path in part]
    labels = np.concatenate([labels for _, labels in listing.parts.values()])
    what = shown(str(path))
    found = read_pictures(
        paths,
        size,
        channels=channels,
        on_bad_image=on_bad_image,
        what=what,
        data_dir=data_dir,
    )
    part_of = np.repeat(list(counts), list(counts.values()))[found.kept]
    labels = labels[found.kept]
    check_counts(labels[part_of == "train"], listing.class_names, str(path))
    parts = {
        part: (take(found.images, part_of == part), labels[part_of == part]) for part in counts
    }
    how = "as it is divided"
    if not len(parts.get("test", ((), ()))[1]):
        x, y = parts["train"]
        train, test = set_test_aside(y, split_seed)
        parts |= {"train": (take(x, train), y[train]), "test": (take(x, test), y[test])}
        how = f"{TEST_SHARE:.0%} of each class set aside to test (split seed {split_seed})"
    told = [f"{len(found.skipped):,} unreadable"] if found.skipped else []
    told += [listing.left_out] if listing.left_out else []
    left_out = f", left out: {', '.join(told)}" if told else ""
    return ImageData(
        shown(str(path)),
        *parts["train"],
        *parts["test"],
        listing.class_names,
        f"{found.sizes}, {how}{left_out}",
        *parts.get("val", (None, None)),
        own_statistics=True,
        fingerprint=listing.fingerprint,
        skipped=found.skipped,
    )
