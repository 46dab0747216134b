"""The learning-rate range test: a few steps, each at a higher rate, and what the loss does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerasresnet import machine
from kerasresnet.errors import KerasResNetError
from kerasresnet.recipe import Recipe

if TYPE_CHECKING:
    from kerasresnet.data.pipeline import Part
    from kerasresnet.data.statistics import Statistics

SMOOTHING = 0.9  # share of the past in the smoothed loss
DIVERGED = 4.0  # times the lowest smoothed loss: there the sweep ends
MARGIN = 10.0  # the suggestion is so far below the rate of the lowest loss


@dataclass(frozen=True)
class Sweep:
    """Rates in rising order, the loss of a batch at each, and the smoothed loss."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest, the usual rule of thumb.

        Raises `KerasResNetError` where the loss falls nowhere.
        """
        lowest = int(np.argmin(self.smoothed)) if self.smoothed else 0
        if lowest == 0:
            raise KerasResNetError(
                f"the loss fell at none of the {len(self.losses)} rates that were tried; begin "
                "with a lower --lowest, or look at the images and their labels"
            )
        return self.rates[lowest] / MARGIN


def rates_between(lowest: float, highest: float, steps: int) -> tuple[float, ...]:
    """`steps` rates from `lowest` to `highest`, each as many times the one before."""
    return tuple(float(rate) for rate in np.geomspace(lowest, highest, steps))


def smooth(losses: list[float]) -> list[float]:
    """The moving average of losses, without the pull towards zero at its beginning (Adam's)."""
    average, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**count))
    return found


def sweep(
    recipe: Recipe,
    train: Part,
    *,
    lowest: float,
    highest: float,
    steps: int,
    seed: int,
    statistics: Statistics | None = None,
) -> Sweep:
    """Train a new network of `recipe` for `steps` batches, from rate `lowest` up to `highest`.

    Smith (arXiv 1506.01186, section 3.3), with rates that grow by a factor. It ends early where the
    smoothed loss is `DIVERGED` times its lowest, or no number. Optimizer, batches, augmentation
    and precision are the recipe's; averages, smaller images, resting ones and moving momentum are
    left out.
    """
    import keras
    from keras.optimizers.schedules import ExponentialDecay

    from kerasresnet.augment import build_augmentation
    from kerasresnet.data import train_dataset
    from kerasresnet.fit.compiled import compile_model, network_for

    plain = recipe.replace(cycle_momentum=None, resolution=None)
    rates = rates_between(lowest, highest, steps)
    keras.utils.set_random_seed(seed)
    losses, smoothed = [], []
    with machine.training_precision(machine.resolve_precision(plain.precision)):
        model = network_for(plain, train[0], statistics)
        rising = ExponentialDecay(lowest, steps - 1, decay_rate=highest / lowest)
        compile_model(model, plain, len(train[0]), rates=rising)
        classes = plain.spec.classes
        batches = train_dataset(
            *train,
            num_classes=classes,
            batch_size=plain.batch_size,
            seed=seed,
            augment=build_augmentation(plain.augment, num_classes=classes),
        )
        for images, targets in batches.take(steps).as_numpy_iterator():
            model.reset_metrics()  # else the loss is the mean of all batches so far
            losses.append(float(model.train_on_batch(images, targets, return_dict=True)["loss"]))
            if not math.isfinite(losses[-1]):
                losses.pop()
                break
            smoothed = smooth(losses)
            if smoothed[-1] > DIVERGED * min(smoothed):
                break
    return Sweep(rates[: len(losses)], tuple(losses), tuple(smoothed))
