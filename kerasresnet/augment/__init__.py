"""Augmentation of image batches in which every image makes its own choices.

On batches of uint8 images in a pipeline, stateless, and so the same on any number of threads:

    augment = build_augmentation(["crop", "flip", "randaugment(n=2, m=9)"])
    dataset = dataset.batch(512).enumerate()
    dataset = dataset.map(lambda step, batch: augment(*batch, seed=(7, step)), num_parallel_calls=2)

As layers, in a pipeline or first in a model, where they act in training only:

    layer = RandAugment(num_ops=2, magnitude=9)
    dataset = dataset.batch(512).map(lambda images, targets: (layer(images), targets))
    pixels = keras.Input((32, 32, 3), dtype="uint8")
    model = keras.Sequential([pixels, RandomCrop(4), RandomFlip(), RandAugment(2, 9), network])

Everything is loaded on first use, so that importing this package costs nothing.
"""

import importlib

_HOMES = {
    "Augmentation": "pipeline",
    "build_augmentation": "pipeline",
    "RandomCrop": "layers",
    "RandomFlip": "layers",
    "Cutout": "layers",
    "RandomErasing": "layers",
    "RandAugment": "layers",
    "TrivialAugment": "layers",
    "AutoAugment": "layers",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
