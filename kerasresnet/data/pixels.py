"""One picture's file as pixels: the same for training and for prediction."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from kerasresnet.errors import first_line

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}

# No others: some of Pillow's formats start other programs.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 2**26  # 8192 x 8192: 200 MB decoded, and as much again while it is scaled
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes of one channel


class ImageError(Exception):
    """This picture cannot be used; the message says why."""


class Header(NamedTuple):
    """What a picture's file says of itself before it is decoded."""

    width: int
    height: int
    grey: bool  # whether it has one channel, transparency aside


def read_header(contents: bytes) -> Header:
    """Raises `ImageError` for what is no image."""
    with _opened(contents) as image:
        return Header(*image.size, image.mode in _GREY)


def can_go_as_bytes(contents: bytes) -> bool:
    """Whether this is a PNG or JPEG that shows the same to a model as to a person.

    A model does not read a camera's note that the image is to be turned. Raises `ImageError` for
    what is no image; only the header is read.
    """
    with _opened(contents) as image:
        if image.format == "PNG":  # Pillow finds such a note in one only by decoding it
            return True
        is_jpeg = image.format in ("JPEG", "MPO")  # MPO: some cameras' JPEG with a preview in it
        return is_jpeg and image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def to_pixels(contents: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """The image as uint8 [H, W, C], scaled to `shape` (bilinear, antialiased), upright.

    Proportions give way to `shape`, transparency is dropped. Raises `ImageError`.
    """
    height, width, channels = shape
    with _opened(contents) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits: Pillow would cut off at 255 instead of scaling
            image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(shape)


@contextlib.contextmanager
def _opened(contents: bytes) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(contents), formats=_FORMATS) as image:
                # Only the header is read so far; a small file can unpack to gigabytes.
                if image.width * image.height > MOST_PIXELS:
                    raise ImageError(
                        f"is of {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}; "
                        "scale it down"
                    )
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        kinds = ", ".join(_FORMATS)
        raise ImageError(f"is no image of a known kind ({kinds})") from None
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise ImageError(first_line(error)) from None


def shown(name: str) -> str:
    """A file's name as it can be printed anywhere: odd bytes and control characters replaced."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
