"""Pictures decoded once into a file, where memory is too small for all of them.

The file is named after the pictures' paths, sizes and times, and after what they are scaled to:
pictures that have changed are decoded anew, others are found again.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL

from kerasresnet.data.decode import Found, are_grey, decode
from kerasresnet.data.pixels import Header
from kerasresnet.data.staging import staging
from kerasresnet.data.stored import StoredImages, write_images
from kerasresnet.disk import publish, read_json, write_json
from kerasresnet.errors import KerasResNetError

_MADE_BY = (1, PIL.__version__)  # 1 changes with our own way of decoding
_CHUNK = 2**25  # bytes that are decoded at once


def decoded(
    paths: Sequence[Path],
    size: tuple[int, int],
    channels: int | None,
    *,
    what: str,
    data_dir: str | Path | None = None,
) -> tuple[StoredImages, Found]:
    """The images of all `paths` at `size`, black what cannot be read; decoded now or before.

    With `channels` None there is one where all are grey. Earlier files of `what` at this size are
    removed. Raises `UsageError` or `KerasResNetError` where the file cannot be written.
    """
    cache = cache_folder(data_dir)
    kind = _digest(what, size, channels)[:8]
    folder = cache / f"{kind}-{_digest(_MADE_BY, *_states(paths))[:16]}"
    there = _read(folder)
    if there is None or not _still_bad(paths, *there):
        _make(folder, paths, size, channels, what)
        there = _read(folder)
        for old in cache.glob(f"{kind}-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    if there is None:
        raise KerasResNetError(f"what was decoded into {folder} is gone; type the same again")
    images, _ = there
    print(f"{what}: {images.nbytes / 1e9:.2f} GB of images are in {folder}", file=sys.stderr)
    return there


def cache_folder(data_dir: str | Path | None = None) -> Path:
    """Where decoded pictures are kept: below `data_dir` or TFDS_DATA_DIR, else in the user's cache.

    Raises `UsageError` for an address in place of a folder.
    """
    from kerasresnet.data.cifar10 import find_data_dir

    if data_dir or os.environ.get("TFDS_DATA_DIR"):
        return find_data_dir(data_dir) / ".pictures"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "kerasresnet"


def _make(
    folder: Path, paths: Sequence[Path], size: tuple[int, int], channels: int | None, what: str
) -> None:
    """Decode `paths` aside, a part at a time, then rename."""
    shape = (len(paths), *size, channels or (1 if are_grey(paths) else 3))
    needed = math.prod(shape)
    print(
        f"{what}: {len(paths):,} pictures are too many for the memory that is free; decoding them "
        f"into {folder.parent}, {needed / 1e9:.2f} GB",
        file=sys.stderr,
    )
    with staging(folder.parent, needed) as aside:
        found = Found({}, set())
        write_images(aside / "images.npy", _decoding(paths, shape[1:], found), shape)
        # Only what cannot be read looked coloured.
        too_many = channels is None and found.grey and shape[-1] == 3
        if not too_many:
            headers = sorted(found.headers)
            write_json(aside / "found.json", {"bad": [*found.bad.items()], "headers": headers})
            if folder.exists():  # and is damaged
                shutil.rmtree(folder)
            publish(aside, folder)
    if too_many:
        _make(folder, paths, size, 1, what)


def _decoding(paths: Sequence[Path], shape: tuple[int, ...], found: Found) -> Iterator[np.ndarray]:
    """The images of `paths`, a part at a time in one buffer; what they say goes into `found`."""
    step = min(len(paths), max(1, _CHUNK // math.prod(shape)))
    buffer = np.empty((step, *shape), np.uint8)
    for start in range(0, len(paths), step):
        here = paths[start : start + step]
        bad, headers = decode(here, buffer[: len(here)])
        found.bad.update({start + number: why for number, why in bad.items()})
        found.headers.update(headers)
        yield buffer[: len(here)]


def _read(folder: Path) -> tuple[StoredImages, Found] | None:
    """What `_make` left; None where there is nothing, or nothing whole."""
    try:
        found = read_json(folder / "found.json")
        headers = {Header(*header) for header in found["headers"]}
        return StoredImages(folder / "images.npy"), Found(dict(found["bad"]), headers)
    except (KerasResNetError, OSError, ValueError, TypeError, KeyError):
        return None


def _still_bad(paths: Sequence[Path], images: StoredImages, found: Found) -> bool:
    """Whether what could not be read cannot be read now: a permission changes no file's time."""
    again = Found({}, set())
    if found.bad:
        for _ in _decoding([paths[number] for number in found.bad], images.shape[1:], again):
            pass
    return not again.headers


def _states(paths: Sequence[Path]) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of each picture; one that is gone is told when it is decoded."""
    for path in paths:
        try:
            state = path.stat()
        except OSError:
            yield os.path.abspath(path), 0, 0
        else:
            yield os.path.abspath(path), state.st_size, state.st_mtime_ns


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part!a}\0".encode())
    return digest.hexdigest()
