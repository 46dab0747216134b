"""Random numbers from a given seed tensor, on every backend, through `keras.random`."""

from collections.abc import Sequence

import keras
import numpy as np
from scipy.special import betaincinv

from kerasresnet.augment.arrays import Tensor, gather, in_foreign_pipeline, ops, random_operations

Seed = Tensor | Sequence[int]  # two integers


class GivenSeed(keras.random.SeedGenerator):
    """A seed generator without state: it yields the seed it was given, integers of shape [2].

    `keras.random` takes integers and generators only, and a seed inside a pipeline or a compiled
    step is a tensor.
    """

    def __init__(self, seed: Seed):
        self._seed = seed

    def next(self, ordered: bool = True) -> Tensor:
        is_jax = keras.backend.backend() == "jax" and not in_foreign_pipeline()
        return ops.cast(ops.convert_to_tensor(self._seed), "uint32" if is_jax else "int32")


def uniform(shape: Sequence, seed: Seed) -> Tensor:
    """float32 of `shape`, uniform in [0, 1), the same for the same `seed`."""
    return random_operations().uniform(shape, dtype="float32", seed=GivenSeed(seed))


def normal(shape: Sequence, seed: Seed) -> Tensor:
    """float32 of `shape`, standard normal, the same for the same `seed`."""
    return random_operations().normal(shape, dtype="float32", seed=GivenSeed(seed))


def split(seed: Seed, count: int) -> list[Tensor]:
    """`count` independent seeds, int32 [2], drawn from `seed`."""
    bits = random_operations().randint(
        (count, 2), 0, 2**31 - 1, dtype="int32", seed=GivenSeed(seed)
    )
    return [bits[number] for number in range(count)]


def below(limit: int, draw: Tensor) -> Tensor:
    """int32 in 0…limit − 1, each as often, from a uniform `draw` in [0, 1)."""
    scaled = draw * ops.cast(limit, "float32")  # may round up to the limit
    return ops.minimum(ops.cast(scaled, "int32"), limit - 1)


def beta(shape: Sequence, alpha: float, seed: Seed) -> Tensor:
    """float32 of `shape` in 0…1, Beta(alpha, alpha), the same for the same `seed`.

    By linear interpolation between 4,097 quantiles: `keras.random.beta` needs TensorFlow's gamma
    sampler, which XLA cannot compile.
    """
    quantiles = betaincinv(alpha, alpha, np.linspace(0, 1, 4097)).astype("float32")
    place = uniform(shape, seed) * 4096
    lower = ops.cast(place, "int32")
    left, right = gather(quantiles, lower), gather(quantiles, lower + 1)
    return left + (place - ops.cast(lower, "float32")) * (right - left)


def permutation(count: int, seed: Seed) -> Tensor:
    """The numbers 0…count − 1 in a random order, int32."""
    return ops.cast(ops.argsort(uniform((count,), seed)), "int32")
