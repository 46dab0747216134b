"""Picture files decoded into an array, on all cores, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kerasresnet.data.pixels import Header, ImageError, read_header, to_pixels


class Found(NamedTuple):
    """What files say of themselves: by their numbers why some cannot be read; others' headers."""

    bad: dict[int, str]
    headers: set[Header]

    @property
    def grey(self) -> bool:
        return all(header.grey for header in self.headers)


def decode(paths: Sequence[Path], images: np.ndarray) -> Found:
    """Decode `paths` into `images` uint8 [N, H, W, C], on all cores; black what cannot be read."""
    from joblib import cpu_count

    def read(number: int) -> Header | str:
        try:
            contents = paths[number].read_bytes()
            header = read_header(contents)
            images[number] = to_pixels(contents, images.shape[1:])
        except (ImageError, OSError) as error:
            images[number] = 0
            return getattr(error, "strerror", None) or str(error)
        return header

    with ThreadPoolExecutor(cpu_count()) as pool:
        found = list(enumerate(pool.map(read, range(len(paths)))))
    bad = {number: each for number, each in found if isinstance(each, str)}
    return Found(bad, {each for _, each in found if not isinstance(each, str)})


def are_grey(paths: Sequence[Path]) -> bool:
    """Whether every picture that can be read has one channel; stops at the first that has more."""
    for path in paths:
        try:
            if not read_header(path.read_bytes()).grey:
                return False
        except (ImageError, OSError):
            continue
    return True
