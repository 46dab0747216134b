"""What every target takes and answers, wherever it runs.

All of them take raw pixels (`serving_default`: `images`), and where the export has the signature
`serving_bytes` also the bytes of PNG and JPEG files (`image_bytes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kerasresnet.errors import KerasResNetError

PIXELS, PIXELS_INPUT = "serving_default", "images"  # uint8 [N, H, W, C]
BYTES, BYTES_INPUT = "serving_bytes", "image_bytes"  # string [N]

_LONGEST_REASON = 200  # characters; a server may quote a whole request


class Refused(Exception):
    """The model refuses these images, at least one of them; the message says why."""


@dataclass(frozen=True)
class Answer:
    """Probabilities [N, classes], and the name of each image's class where the model gives it."""

    probabilities: np.ndarray
    names: Sequence[str] | None = None


class Target(Protocol):
    """Something that classifies images; `class_names` are there where they are known."""

    name: str
    image_shape: tuple[int, int, int]  # height, width, channels
    takes_bytes: bool
    class_names: Sequence[str] | None

    def predict(self, images: np.ndarray | list[bytes]) -> Answer:
        """Classify uint8 images [N, H, W, C], or the bytes of N files where `takes_bytes`.

        Raises `Refused` for the images, `KerasResNetError` where nothing more can be expected.
        """
        ...


def read_signatures(
    name: str, inputs: Mapping[str, Mapping[str, tuple[Any, ...]]]
) -> tuple[tuple[int, int, int], bool]:
    """(image shape, whether it takes bytes), from the inputs' shapes of each signature.

    Raises `KerasResNetError` where the model takes anything but images.
    """
    shape = inputs.get(PIXELS, {}).get(PIXELS_INPUT, ())
    if len(shape) != 4 or not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        takes = ", ".join(inputs.get(PIXELS, {})) or "nothing"
        raise KerasResNetError(
            f"{name} is no export of kerasresnet: its {PIXELS} takes {takes}, "
            f"and not {PIXELS_INPUT} [N, H, W, C]"
        )
    return tuple(shape[1:]), BYTES_INPUT in inputs.get(BYTES, {})


def reason_in(message: str) -> str:
    """What a person needs of an error of TensorFlow's: its first line, no node names."""
    first = next(iter(message.strip().splitlines()), "no reason given")
    first = first.split("[[{{node")[0].strip()
    return first if len(first) <= _LONGEST_REASON else first[:_LONGEST_REASON] + " …"


def too_slow(name: str, seconds: float) -> KerasResNetError:
    """The error for a server that did not answer in time."""
    return KerasResNetError(
        f"{name} did not answer within {seconds:g} s; --timeout gives it more, and a smaller "
        "--batch-size less to do"
    )


def unreachable(name: str, reason: str) -> KerasResNetError:
    """The error for an address at which no such server listens."""
    return KerasResNetError(
        f"no server answers at {name}: {reason} (gRPC is usually at port 8500, REST at 8501)"
    )
