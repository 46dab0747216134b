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


def write_classes(root, counts, size=(20, 14)):
    """A folder of PNG files below each class name, each picture of a colour of its own."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            colour = (60 * number % 256, i % 256, 255 - 60 * number % 256)
            Image.new("RGB", size, colour).save(root / name / f"{i:03}.png")
    return root
