"""Images of one size scaled to another, as pictures of files are."""

from __future__ import annotations

import dataclasses

import numpy as np

from kerasresnet.data.images import ImageData


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, H, W, C] of 1 or 3 channels at `size` (height, width): bilinear, antialiased."""
    from PIL import Image

    if images.shape[1:3] == size:
        return images
    height, width = size
    flat = images[..., 0] if images.shape[-1] == 1 else images
    scaled = [
        np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        for image in flat
    ]
    return np.stack(scaled).reshape(len(images), height, width, images.shape[-1])


def resize_all(data: ImageData, size: tuple[int, int]) -> ImageData:
    """`data` with all its images at `size`, and its source saying so."""
    if data.image_shape[:2] == size:
        return data
    before, after = (f"{height}x{width}" for height, width in (data.image_shape[:2], size))
    return dataclasses.replace(
        data,
        x_train=resized(data.x_train, size),
        x_test=resized(data.x_test, size),
        source=f"{data.source}, scaled to {after} from {before}",
    )
