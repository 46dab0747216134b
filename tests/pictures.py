"""Pictures for tests, drawn here."""

import io

import numpy as np
from PIL import Image


def photo(width=200, height=150, mode="RGB"):
    """A smooth picture, each corner another colour."""
    down, across = np.mgrid[0:height, 0:width]
    red, green = 255 * across / (width - 1), 255 * down / (height - 1)
    pixels = np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def noise(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def saved(image, kind, **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()
