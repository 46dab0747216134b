"""What often is a mistake in labelled images, told before any training."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from kerasresnet.data.images import ImageData
from kerasresnet.data.stored import Images, chunks_of

RARE = 0.1  # of an even share of the training images


def oddities(data: ImageData, *, balanced: bool = False) -> list[str]:
    """A line for each; none for most data sets. All images are read once.

    Told are images of test and validation that are trained on too, copies among the training
    images, one image under two labels, images of one colour throughout, and (unless classes are
    `balanced` by weights) classes with less than `RARE` of an even share. Images are the same
    where a hash of all of their pixels is.
    """
    train, test = _seen(data.x_train), _seen(data.x_test)
    val = None if data.x_val is None else _seen(data.x_val)
    first: dict[bytes, int] = {}  # image → the label that it had where it was first
    for image, label in zip(train.hashes, data.y_train.tolist(), strict=True):
        first.setdefault(image, label)
    found = []
    for what, part in (("test", test), ("validation", val)):
        if part and (copies := sum(image in first for image in part.hashes)):
            found.append(
                f"{what} images that are trained on too: {copies:,} of {len(part.hashes):,}"
            )
    if copies := len(train.hashes) - len(first):
        found.append(
            f"training images that are copies of others: {copies:,} of {len(train.hashes):,}"
        )
    parts = [(train, data.y_train), (test, data.y_test)] + ([(val, data.y_val)] if val else [])
    if contradicting := _contradicting(parts):
        found.append(f"images with another label than a copy of theirs: {contradicting:,}")
    if blank := sum(part.blank for part, _ in parts):
        found.append(f"images of one colour throughout: {blank:,}")
    return found if balanced else found + _rare(data)


class _Seen(NamedTuple):
    hashes: list[bytes]  # of each image
    blank: int  # images of one colour


def _seen(images: Images) -> _Seen:
    hashes, blank = [], 0
    for chunk in chunks_of(images):
        rows = np.ascontiguousarray(chunk).reshape(len(chunk), -1)
        hashes += [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
        pixels = rows.reshape(len(chunk), -1, chunk.shape[-1])
        # The first pixels already tell nearly all images that are not.
        maybe = (pixels[:, :8] == pixels[:, :1]).all(axis=(1, 2))
        blank += int((pixels[maybe] == pixels[maybe, :1]).all(axis=(1, 2)).sum())
    return _Seen(hashes, blank)


def _contradicting(parts: list[tuple[_Seen, np.ndarray]]) -> int:
    """Images whose label is another than where the same image was first."""
    first: dict[bytes, int] = {}
    count = 0
    for seen, labels in parts:
        for image, label in zip(seen.hashes, labels.tolist(), strict=True):
            count += first.setdefault(image, label) != label
    return count


def _rare(data: ImageData) -> list[str]:
    counts = np.bincount(data.y_train, minlength=data.num_classes)
    even = len(data.y_train) / data.num_classes
    if not (rare := np.flatnonzero(counts < RARE * even)).size:
        return []
    fewest = int(counts.argmin())
    return [
        f"classes with less than {RARE:.0%} of an even share ({even:,.0f}) of the training images: "
        f"{len(rare):,} of {data.num_classes:,}, the fewest {data.class_names[fewest]!r} with "
        f"{counts[fewest]:,}; --class-weights balanced makes up for it"
    ]
