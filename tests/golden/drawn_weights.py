"""Weights and images drawn by NumPy: the same for every framework, and kept in no file.

Each layer draws from a generator seeded by its name, so no order has to be agreed on: names are
those of our Keras model (`stack1_block0_conv2`), shapes are Keras' too ([k, k, in, out]). Within a
layer the order is that of the returned list. The ranges keep activations and logits near 1
through fifty blocks, while every array matters to the outputs.
"""

from __future__ import annotations

import numpy as np


def conv(name: str, shape: tuple[int, int, int, int]) -> list[np.ndarray]:
    """[kernel], with the variance of He et al. (arXiv 1502.01852, equation 10)."""
    return [_uniform(_generator(name), shape, (6 / np.prod(shape[:3])) ** 0.5)]


def batch_norm(name: str, channels: int) -> list[np.ndarray]:
    """[scale, offset, moving mean, moving variance], each away from its initial value."""
    generator = _generator(name)
    return [
        0.5 + _uniform(generator, (channels,), 0.3),
        _uniform(generator, (channels,), 0.5),
        _uniform(generator, (channels,), 0.5),
        1.0 + _uniform(generator, (channels,), 0.5),
    ]


def dense(name: str, shape: tuple[int, int]) -> list[np.ndarray]:
    """[kernel, bias]."""
    generator = _generator(name)
    return [_uniform(generator, shape, (3 / shape[0]) ** 0.5), _uniform(generator, shape[1:], 0.5)]


def images(count: int, size: int, channels: int = 3) -> np.ndarray:
    """uint8 images [count, size, size, channels]: 2 x 2 patches of colour under noise."""
    generator = _generator("images")
    patches = generator.integers(0, 256, (count, 2, 2, channels))
    places = np.arange(size) * 2 // size
    noise = generator.integers(0, 256, (count, size, size, channels))
    return ((patches[:, places][:, :, places] + noise) // 2).astype(np.uint8)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(list(name.encode()))


def _uniform(generator: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    return generator.uniform(-bound, bound, shape).astype(np.float32)
