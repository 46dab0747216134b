"""Picture files as images of one size and kind, in memory or in a file; what is bad is told."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kerasresnet.data.decode import decode
from kerasresnet.data.decoded import decoded
from kerasresnet.data.pixels import Header, shown
from kerasresnet.data.stored import Images, fit_in_memory, take
from kerasresnet.errors import UsageError

OnBadImage = Literal["refuse", "skip"]
_NAMED = 5  # of the files that cannot be read


@dataclass(frozen=True, eq=False)
class Pictures:
    """What became of a list of files."""

    images: Images  # uint8 [n, H, W, C]
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
    data_dir: str | Path | None = None,
) -> Pictures:
    """Decode all `paths`, upright and scaled to `size` (height, width), on all cores.

    With `channels` None there is one channel where all pictures are grey, else three. A file that
    cannot be read refuses all, or is left out and named. Where memory is too small, the images
    stay in a file, in `data_dir` or a cache, and are decoded into it if they are not there.

    Raises:
        UsageError: a file cannot be read and `on_bad_image` is "refuse", or none can.
        KerasResNetError: the pixels fit neither into memory nor on the disk.
    """
    shape = (*size, channels or 3)
    if fit_in_memory(len(paths) * math.prod(shape)):
        images = np.empty((len(paths), *shape), np.uint8)
        found = decode(paths, images)
    else:
        images, found = decoded(paths, size, channels, what=what, data_dir=data_dir)
    bad = [f"{shown(str(paths[number]))} ({why})" for number, why in found.bad.items()]
    _tell(bad, len(paths), on_bad_image, what)
    kept = np.setdiff1d(np.arange(len(paths)), [*found.bad])
    if bad:
        images = take(images, kept)
    if channels is None and found.grey and images.shape[-1] == 3:
        images = images[..., :1].copy()  # three equal ones
    return Pictures(images, kept, tuple(bad), _sizes(found.headers, size))


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


def _sizes(headers: Iterable[Header], size: tuple[int, int]) -> str:
    there = sorted({(h.width * h.height, h.height, h.width) for h in headers})
    texts = [f"{height}x{width}" for _, height, width in there]
    to = f"{size[0]}x{size[1]}"
    if texts == [to]:
        return f"{to} as they are"
    return f"scaled to {to} from " + (texts[0] if len(texts) == 1 else f"{texts[0]} … {texts[-1]}")
