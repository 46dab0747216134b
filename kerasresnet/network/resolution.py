"""The size of the training images by epoch: small ones first, which cost less, full size last.

Written as sizes and shares of the epochs, `24:0.5, 28:0.25, 32:0.25`. Progressive resizing:
FixRes (arXiv 1906.06423) says why the last epochs need the full size.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from kerasresnet.errors import UsageError
from kerasresnet.network.spec import ResNetSpec

_PART = re.compile(r"\s*([0-9]{1,5})\s*:\s*([0-9]*\.?[0-9]+)\s*")


class Span(NamedTuple):
    """Epochs `first` … `end - 1`, trained on images of `size` x `size`."""

    size: int
    first: int
    end: int


def sizes_by_epoch(text: str | None, epochs: int, spec: ResNetSpec) -> tuple[int, ...]:
    """The side of the training images, in pixels, for each of `epochs` epochs of `spec`.

    A span ends at the epoch that is nearest to its share; with None all images keep the spec's
    height. Raises `UsageError` for a text that makes no sense, that does not end at the spec's
    size, or with a size that the network would pool below 1 x 1.
    """
    height, width, channels = spec.input_shape
    if text is None:
        return (height,) * epochs
    parts = [_PART.fullmatch(part) for part in text.split(",")]
    if not all(parts):
        raise UsageError(
            f"a resolution is sizes and shares of the epochs, such as '24:0.5, 28:0.25, "
            f"{height}:0.25', received {text!r}"
        )
    sizes, shares = [int(part[1]) for part in parts], [float(part[2]) for part in parts]
    if abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
        raise UsageError(
            f"the shares of a resolution are above 0 and add up to 1, received {text!r} with "
            f"{sum(shares):g} in all"
        )
    if height != width or spec.pool != "global":
        raise UsageError(
            f"a resolution by epoch needs square images and a global pool, received {spec}; leave "
            "out resolution, or the pool"
        )
    if sizes[-1] != height:
        raise UsageError(
            f"a resolution ends at the full size of the network, {height}, received {text!r}; "
            f"write {height}:{shares[-1]:g} last"
        )
    for size in sizes:
        spec.replace(input_shape=(size, size, channels))
    ends = [round(epochs * share) for share in itertools.accumulate(shares)]
    ends[-2:] = [min(end, epochs - 1) for end in ends[-2:-1]] + [epochs]  # full size once at least
    starts = [0, *ends[:-1]]
    spans = zip(sizes, starts, ends, strict=True)
    return tuple(size for size, start, end in spans for _ in range(start, end))


def spans(sizes: tuple[int, ...], first: int, end: int) -> list[Span]:
    """The epochs `first` … `end - 1` of `sizes_by_epoch`, joined where the size is the same."""
    found = []
    for size, epochs in itertools.groupby(range(first, end), key=lambda epoch: sizes[epoch]):
        epochs = list(epochs)
        found.append(Span(size, epochs[0], epochs[-1] + 1))
    return found
