"""Images that stay in their file: what is asked for is read, as an array of its own.

Read, not mapped: pages of a map count as this process's memory, a slow disk holds up all of
Python's threads, and a file cut short kills the process instead of raising an error.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from kerasresnet.errors import KerasResNetError

_COPIES = 3  # splitting copies the images once, and the pipeline holds them again as tensors


class StoredImages:
    """Images uint8 [N, H, W, C] of a .npy file, indexed along N as an array is.

    `images[places]` reads an image, a slice, or those of an integer or boolean array;
    `images.part(places)` is a part of them that reads nothing. Threads may read at once, and a
    file that is deleted meanwhile stays readable, except on Windows.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, path: Path) -> None:
        """Raises `OSError` or `ValueError` where `path` holds no whole array of such images."""
        self._file = _File(path)
        version = np.lib.format.read_magic(self._file.opened)
        if version != (1, 0):
            raise ValueError(f"{path} is a .npy file of version {version}")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(self._file.opened)
        self._start = self._file.opened.tell()
        whole = self._start + math.prod(shape) == os.path.getsize(path)
        if len(shape) != self.ndim or dtype != self.dtype or by_column or not whole:
            raise ValueError(f"{path} holds no whole array uint8 [N, H, W, C]")
        self.shape: tuple[int, ...] = shape
        self._places = np.arange(shape[0])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, places: Any) -> np.ndarray:
        chosen = np.asarray(self._places[places])
        shape, flat = self.shape[1:], chosen.ravel()
        images = np.empty((len(flat), *shape), self.dtype)
        for first, end in _runs(flat):
            offset = self._start + int(flat[first]) * math.prod(shape)
            self._file.read_into(images[first:end], offset)
        return images.reshape(*chosen.shape, *shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def part(self, places: Any) -> Self:
        """The images at `places` (a slice, an integer or boolean array), still in the file."""
        part = object.__new__(type(self))
        part.__dict__ |= self.__dict__
        part._places = self._places[places]
        part.shape = (len(part._places), *self.shape[1:])
        return part


Images = np.ndarray | StoredImages  # uint8 [N, H, W, C]


def take(images: Images, places: Any) -> Images:
    """The images at `places`: of an array a copy, of stored ones a part that reads nothing."""
    return images.part(places) if isinstance(images, StoredImages) else images[places]


def fit_in_memory(nbytes: int) -> bool:
    """Whether images of so many bytes can be trained on from memory here and now."""
    return memory_for(nbytes) <= psutil.virtual_memory().available


def memory_for(nbytes: int) -> int:
    """The bytes of memory that training on images of `nbytes` takes."""
    return _COPIES * nbytes


def open_images(path: Path) -> Images:
    """The images uint8 [N, H, W, C] of a .npy file, mapped if they fit into memory, else stored.

    Raises `OSError`, `ValueError` or `EOFError` where it holds none.
    """
    fit = fit_in_memory(os.path.getsize(path))
    return np.load(path, mmap_mode="r") if fit else StoredImages(path)


def write_images(path: Path, chunks: Iterator[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write `chunks` of images, one after the other, as one .npy file of `shape` [N, H, W, C].

    Written, not mapped: a full disk is an `OSError`, and kills nobody.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk).data)


def chunks_of(images: Images, nbytes: int = 2**25) -> Iterator[np.ndarray]:
    """`images` in order, so many at once as take `nbytes` (one at least)."""
    step = max(1, nbytes // math.prod(images.shape[1:]))
    return (images[start : start + step] for start in range(0, len(images), step))


def _runs(places: np.ndarray) -> list[tuple[int, int]]:
    """Where neighbours in the file begin and end in `places`: each run is one read."""
    breaks = (np.flatnonzero(np.diff(places) != 1) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(places)], strict=True)) if len(places) else []


class _File:
    """A file of which several threads read at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = path.open("rb", buffering=0)
        self._alone = threading.Lock()

    def read_into(self, array: np.ndarray, offset: int) -> None:
        """Fill `array` with the bytes from `offset` on. Raises `KerasResNetError`."""
        rest = memoryview(array).cast("B")
        try:
            while rest:
                count = self._read(rest, offset)
                if not count:
                    raise OSError("it has become shorter")
                rest, offset = rest[count:], offset + count
        except OSError as error:
            raise KerasResNetError(
                f"cannot read {self.path} ({error.strerror or error}); delete it and type the same "
                "again, it will be made anew"
            ) from None

    def _read(self, into: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.opened.fileno(), [into], offset)
        with self._alone:  # Windows has no read that leaves the position alone
            self.opened.seek(offset)
            return self.opened.readinto(into)
