"""From image files to classes, in batches in which a bad image harms no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from kerasresnet.data.pixels import ImageError, can_go_as_bytes, to_pixels
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.predict.images import Source
from kerasresnet.predict.interface import Refused, Target

Row = tuple[np.ndarray, str | None]  # probabilities [classes], name of the most probable
_BATCH_BYTES = 32 << 20  # of the files of one batch


def classify(
    target: Target,
    sources: Sequence[Source],
    *,
    batch_size: int = 32,
    top: int = 3,
    class_names: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> list[dict[str, Any]]:
    """One entry for each source, in order: `file` and either `error` or what it shows.

    That is `class_id`, `label`, `probability`, and `top`, the `top` most probable classes with
    the same three each. `class_names` are for a target that has none; a name that nobody
    knows is None. `advance` is told how many images are done after each batch.

    Raises `UsageError` where the names are not as many as the classes, `KerasResNetError` where
    the target fails on the first batch; later the entries that are left have its sentence as
    their `error`.
    """
    rows: list[Row | Exception] = []
    class_names = class_names or target.class_names
    for batch in _batches(sources, batch_size):
        try:
            rows += _classify_batch(target, batch)
        except KerasResNetError as error:
            if not rows:
                raise
            rows += [error] * (len(sources) - len(rows))
            break
        if len(rows) == len(batch):
            _check_class_names(class_names, rows)
        advance(len(batch))
    names = _names(rows) if class_names is None else dict(enumerate(class_names))
    return [
        {"file": source.name, **_described(row, names, top)}
        for source, row in zip(sources, rows, strict=True)
    ]


def _batches(sources: Sequence[Source], size: int) -> Iterator[list[bytes | ImageError]]:
    batch: list[bytes | ImageError] = []
    held = 0
    for source in sources:
        try:
            batch.append(source.read())
            held += len(batch[-1])
        except ImageError as error:
            batch.append(error)
        if len(batch) == size or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _classify_batch(target: Target, batch: list[bytes | ImageError]) -> list[Row | Exception]:
    """Files go as they are where the target takes them so, as pixels where it does not.

    What it refuses as a file (too large a photo) is scaled here and tried as pixels.
    """
    rows: list[Row | Exception | None] = [None] * len(batch)
    files: list[int] = []
    for i, contents in enumerate(batch):
        try:
            if isinstance(contents, ImageError):
                raise contents
            if can_go_as_bytes(contents) and target.takes_bytes:
                files.append(i)
        except ImageError as error:
            rows[i] = error
    for i, row in zip(files, _predict(target, [batch[i] for i in files]), strict=True):
        rows[i] = None if isinstance(row, Refused) else row
    pixels: dict[int, np.ndarray] = {}
    for i in (i for i, row in enumerate(rows) if row is None):
        try:
            pixels[i] = to_pixels(batch[i], target.image_shape)
        except ImageError as error:
            rows[i] = error
    if pixels:
        answers = _predict(target, np.stack(list(pixels.values())))
        for i, row in zip(pixels, answers, strict=True):
            rows[i] = row
    return rows


def _predict(target: Target, images: np.ndarray | list[bytes]) -> list[Row | Refused]:
    """A row for each image; a batch that is refused is halved until the bad ones are alone."""
    if not len(images):
        return []
    try:
        answer = target.predict(images)
    except Refused as refusal:
        if len(images) == 1:
            return [refusal]
        half = len(images) // 2
        return _predict(target, images[:half]) + _predict(target, images[half:])
    if answer.probabilities.ndim != 2 or len(answer.probabilities) != len(images):
        raise KerasResNetError(
            f"{target.name} is no classifier: it answers {len(images)} images with an array of "
            f"shape {answer.probabilities.shape}"
        )
    given = answer.names or [None] * len(images)
    return [
        (row, name) if np.isfinite(row).all() else Refused("its probabilities are not numbers")
        for row, name in zip(answer.probabilities, given, strict=True)
    ]


def _check_class_names(class_names: Sequence[str] | None, rows: Sequence[Row | Exception]) -> None:
    """Raises `UsageError` where the first classified image has another number of classes."""
    classes = next((len(row[0]) for row in rows if not isinstance(row, Exception)), None)
    if class_names is not None and classes not in (None, len(class_names)):
        raise UsageError(f"the model has {classes} classes, and {len(class_names)} names are given")


def _names(rows: Sequence[Row | Exception]) -> dict[int, str]:
    """What the answers themselves say of the classes' names."""
    answered = (row for row in rows if not isinstance(row, Exception))
    return {int(row.argmax()): name for row, name in answered if name is not None}


def _described(row: Row | Exception, names: dict[int, str], top: int) -> dict[str, Any]:
    if isinstance(row, Exception):
        return {"error": str(row)}
    probabilities = row[0]
    best = [
        {"class_id": int(i), "label": names.get(int(i)), "probability": float(probabilities[i])}
        for i in np.argsort(-probabilities, kind="stable")[:top]
    ]
    return {**best[0], "top": best}
