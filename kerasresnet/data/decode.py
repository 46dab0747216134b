"""Pictures from files into one array: every size and kind made one, what cannot be read told."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from kerasresnet.data.pixels import Header, ImageError, read_header, shown, to_pixels
from kerasresnet.errors import KerasResNetError, UsageError

OnBadImage = Literal["refuse", "skip"]
_NAMED = 5  # of the files that cannot be read


@dataclass(frozen=True, eq=False)
class Pictures:
    """What became of a list of files."""

    images: np.ndarray  # uint8 [n, H, W, C]
    kept: np.ndarray  # which of the files they are, int [n]
    skipped: tuple[str, ...]  # "path (why)" of the others
    sizes: str  # "as they are", or what they were scaled from


def read_pictures(
    paths: Sequence[Path],
    size: tuple[int, int],
    *,
    channels: int | None = None,
    on_bad_image: OnBadImage = "refuse",
    what: str = "the pictures",
) -> Pictures:
    """Decode all `paths`, upright and scaled to `size` (height, width), on all cores.

    With `channels` None there is one channel where all pictures are grey, else three. A file that
    cannot be read refuses all, or is left out and named.

    Raises:
        UsageError: a file cannot be read and `on_bad_image` is "refuse", or none can.
        KerasResNetError: the pixels do not fit into memory.
    """
    from joblib import cpu_count

    shape = (*size, channels or 3)
    images = _room_for(len(paths), shape, what)

    def read(number: int) -> Header | str:
        try:
            contents = paths[number].read_bytes()
            header = read_header(contents)
            images[number] = to_pixels(contents, shape)
        except (ImageError, OSError) as error:
            return getattr(error, "strerror", None) or str(error)
        return header

    with ThreadPoolExecutor(cpu_count()) as pool:
        found = list(pool.map(read, range(len(paths))))
    kept = np.flatnonzero([isinstance(header, Header) for header in found])
    bad = [f"{shown(str(p))} ({f})" for p, f in zip(paths, found, strict=True) if type(f) is str]
    _tell(bad, len(paths), on_bad_image, what)
    headers = [found[number] for number in kept]
    if len(kept) < len(paths):
        images = images[kept]
    if channels is None and all(header.grey for header in headers):
        images = images[..., :1].copy()  # three equal ones
    return Pictures(images, kept, tuple(bad), _sizes(headers, size))


def are_grey(paths: Sequence[Path]) -> bool:
    """Whether every picture that can be read has one channel; stops at the first that has more."""
    for path in paths:
        try:
            if not read_header(path.read_bytes()).grey:
                return False
        except (ImageError, OSError):
            continue
    return True


def _room_for(count: int, shape: tuple[int, ...], what: str) -> np.ndarray:
    needed = count * math.prod(shape)
    # Splitting copies the array once, and the pipeline holds it again as tensors.
    if 3 * needed > (free := psutil.virtual_memory().available):
        raise KerasResNetError(
            f"{count:,} pictures of {what} take {3 * needed / 1e9:.1f} GB of memory at "
            f"{shape[0]}x{shape[1]}, and {free / 1e9:.1f} GB are free; lower --image-size"
        )
    return np.empty((count, *shape), np.uint8)


def _tell(bad: Sequence[str], count: int, on_bad_image: OnBadImage, what: str) -> None:
    """Raise for pictures that cannot be read, or say on standard error which are left out."""
    if not bad:
        return
    more = f" and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    told = f"{len(bad):,} of {count:,} pictures of {what} cannot be read: "
    if on_bad_image == "refuse" or len(bad) == count:
        hint = "; mend them, or leave them out with --on-bad-image skip" if len(bad) < count else ""
        raise UsageError(told + ", ".join(bad[:_NAMED]) + more + hint)
    print(f"left out: {told}{', '.join(bad)}", file=sys.stderr)


def _sizes(headers: Sequence[Header], size: tuple[int, int]) -> str:
    there = sorted({(h.width * h.height, h.height, h.width) for h in headers})
    texts = [f"{height}x{width}" for _, height, width in there]
    to = f"{size[0]}x{size[1]}"
    if texts == [to]:
        return f"{to} as they are"
    return f"scaled to {to} from " + (texts[0] if len(texts) == 1 else f"{texts[0]} … {texts[-1]}")
