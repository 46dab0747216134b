"""The epochs of a run: the network compiled by a recipe, trained from where the run stands."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.data.pipeline import Part
from kerasresnet.fit.compiled import compile_model, network_for
from kerasresnet.fit.strategy import Strategy, spread
from kerasresnet.network.budget import check_budget
from kerasresnet.recipe import Recipe
from kerasresnet.run import Run

VAL_BATCH = 500  # images; only memory and speed depend on it
FIRST_EPOCHS = 3  # after the warm-up; what is still guessing then is told

if TYPE_CHECKING:
    import keras

    from kerasresnet.augment.pipeline import Augmentation
    from kerasresnet.data.statistics import Statistics


def train_epochs(
    run: Run,
    recipe: Recipe,
    train: Part,
    val: Part,
    *,
    seed: int,
    until: int | None = None,
    statistics: Statistics | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
    strategy: Strategy = "single",
) -> None:
    """Train `run` on `train` from its last finished epoch to `until` (default: the recipe's last).

    Optimizer, step count and schedule are those of all `recipe.epochs`, wherever it stops: a run
    stopped at 3 of 9 epochs and trained on equals one of 9 epochs in one go. The network
    normalises by `statistics` (default: CIFAR-10's); `strategy` says which devices share each
    batch; without `verbose` nothing is printed. Raises `UsageError` where it is over its limit,
    another process trains the run or the devices cannot share a batch, `KerasResNetError` where the
    loss becomes NaN or no state of the run can be read.
    """
    import keras

    from kerasresnet import machine
    from kerasresnet.network.build import build_model

    check_budget(recipe.spec, recipe.max_params)
    kept = build_model(recipe.spec, **(statistics._asdict() if statistics else {}))
    keras.utils.set_random_seed(seed)
    precision = machine.training_precision(machine.resolve_precision(recipe.precision))
    with precision, spread(strategy, recipe):
        network = network_for(recipe, train[0], statistics)
        with run.locked():
            last = recipe.epochs if until is None else until
            training = _Training(run, recipe, network, kept, train, val, seed, verbose)
            training.fit(last, callbacks)


@dataclass(frozen=True)
class _Training:
    """A run, what trains for it, and the images it sees."""

    run: Run
    recipe: Recipe
    network: keras.Model  # trains
    kept: keras.Model  # the plain network that the run keeps
    train: Part
    val: Part
    seed: int
    verbose: bool

    @property
    def averaged(self) -> bool:
        return bool(self.recipe.ema or self.recipe.lookahead)

    @functools.cached_property
    def on_device(self) -> bool:
        """Whether the training step augments, not the data."""
        first = self.recipe.sizes[0]
        return self.recipe.augment_on == "device" and self._augmentation(first) is not None

    @property
    def from_arrays(self) -> bool:
        """Whether batches come without tf.data, as TensorFlow may be missing."""
        import keras

        return keras.backend.backend() != "tensorflow" and self.recipe.augment_on == "device"

    def fit(self, last: int, extra: Sequence[keras.callbacks.Callback]) -> None:
        """Train the epochs up to `last` that the run does not have yet, writing each one down."""
        from kerasresnet.data import steps_per_epoch
        from kerasresnet.data.statistics import balanced_weights
        from kerasresnet.fit.callbacks import OneTraining
        from kerasresnet.fit.restore import restore

        recipe, network = self.recipe, self.network
        images = recipe.images_by_epoch(len(self.train[0]))
        steps = steps_per_epoch(images, recipe.batch_size)
        balanced = recipe.class_weights == "balanced"
        weights = balanced_weights(self.train[1], recipe.spec.classes) if balanced else None
        model = self._model(weights)
        compile_model(model, recipe, images)
        states = {"keep": recipe.keep, "averaged": self.averaged}
        first_epoch = restore(self.run, model, network, self.kept, **states)
        if first_epoch >= last:
            return
        callbacks = OneTraining([*self._callbacks(steps, last), *extra], model, last, steps)
        for first, end, batches in self._passes(model, first_epoch, last):
            model.fit(
                batches,
                steps_per_epoch=steps,
                initial_epoch=first,
                epochs=end,
                validation_data=self._val_batches,
                class_weight=None if self.on_device else weights,
                shuffle=False,  # the data is shuffled already, by seed and epoch
                callbacks=callbacks,
                verbose=0,
            )
            if model.stop_training:  # some callback has seen enough
                break
        callbacks.end()

    def _model(self, weights: Mapping[int, float] | None) -> keras.Model:
        """What `fit` is called on: the network, or one around it that augments, and lets rest."""
        from kerasresnet.fit.augmented_model import AugmentedModel
        from kerasresnet.fit.resting_model import RestingModel

        images = len(self.train[0])
        resting = images - self.recipe.images_by_epoch(images)
        augment = self._augmentation(self.recipe.sizes[0])
        own = (augment, self.seed, weights) if self.on_device else (None, self.seed)
        if resting:
            return RestingModel(self.network, *own, images=images, resting=resting)
        return AugmentedModel(self.network, *own) if self.on_device else self.network

    def _passes(
        self, model: keras.Model, first_epoch: int, last: int
    ) -> Iterator[tuple[int, int, Any]]:
        """First epoch, end and training batches of each call of `model.fit`."""
        from kerasresnet.fit.resting_model import RestingModel
        from kerasresnet.network.resolution import spans

        resting = isinstance(model, RestingModel)
        by_epoch = resting or self.from_arrays  # who rests is known when the one before has ended
        for size, start, stop in spans(self.recipe.sizes, first_epoch, last):
            augment = self._augmentation(size)
            settings = {"identified": resting}
            if self.on_device:
                settings["identified"] = resting or augment.needs_identity
                model.augmentation, augment = augment, None
            # One graph for each size: a graph for all of them would know none.
            model.make_train_function(force=True)
            length = 1 if by_epoch else stop - start
            for first in range(start, stop, length):
                if resting:
                    settings["turns"] = model.begin_epoch(first)
                end = first + length
                yield first, end, self._batches(augment, first, end, **settings)

    def _callbacks(self, steps: int, last: int) -> list[keras.callbacks.Callback]:
        """The guards, the average, the record of the run, the time left; `steps` are an epoch's."""
        from kerasresnet.evaluate.measure import best_guess
        from kerasresnet.fit.callbacks import (
            ParameterBudget,
            RunWriter,
            StillGuessing,
            StopOnNaN,
            WeightAverage,
        )
        from kerasresnet.fit.lines import EpochLines

        recipe, networks = self.recipe, (self.network, self.kept)
        average = []
        if self.averaged:
            rule = {"ema": recipe.ema, "lookahead": recipe.lookahead}
            average = [WeightAverage(*networks, total_steps=steps * recipe.epochs, **rule)]
        pflop = recipe.pflop_by_epoch(len(self.train[0]))
        most_frequent = float(np.bincount(self.train[1]).max() / len(self.train[1]))
        guess = best_guess(most_frequent, steps * recipe.batch_size)
        early = math.ceil(recipe.warmup_epochs) + FIRST_EPOCHS
        # After the last epoch the test tells the same.
        told = [StillGuessing(guess, early)] if early < recipe.epochs else []
        told.append(EpochLines(pflop[:last], steps))
        return [
            ParameterBudget(recipe.max_params),
            StopOnNaN(),
            *average,
            RunWriter(self.run, *networks, keep=recipe.keep, averaged=self.averaged),
            *(told if self.verbose else []),
        ]

    def _batches(
        self, augment: Augmentation | None, first_epoch: int, end: int, **settings: Any
    ) -> Any:
        """Training data of some epochs: tf.data, or arrays of one where TensorFlow may be missing.

        `settings` are further ones of `train_dataset`.
        """
        settings |= {
            "num_classes": self.recipe.spec.classes,
            "batch_size": self.recipe.batch_size,
            "seed": self.seed,
        }
        if self.from_arrays:
            from kerasresnet.data.arrays import ArrayBatches

            return ArrayBatches(*self.train, epoch=first_epoch, **settings)
        from kerasresnet.data import train_dataset

        epochs = {"first_epoch": first_epoch, "epochs": end - first_epoch}
        return train_dataset(
            *self.train, augment=augment, gather=self._gather, **epochs, **settings
        )

    @functools.cached_property
    def _gather(self) -> Any:
        """The one copy of the training images that tf.data holds."""
        from kerasresnet.data.pipeline import gatherer

        return gatherer(*self.train, self.recipe.spec.classes)

    @functools.cached_property
    def _val_batches(self) -> Any:
        """Validation data in order, as `_batches` has that to train on; None without images."""
        if not len(self.val[0]):
            return None
        settings = {"num_classes": self.recipe.spec.classes, "batch_size": VAL_BATCH}
        if self.from_arrays:
            from kerasresnet.data.arrays import ArrayBatchesInOrder

            return ArrayBatchesInOrder(*self.val, **settings)
        from kerasresnet.data import eval_dataset

        return eval_dataset(*self.val, **settings)

    def _augmentation(self, size: int) -> Augmentation | None:
        """What the recipe does to a training batch whose images are to be of `size` x `size`."""
        from kerasresnet.augment import build_augmentation

        recipe = self.recipe
        resized = None if size == recipe.spec.input_shape[0] else size
        return build_augmentation(recipe.augment, num_classes=recipe.spec.classes, size=resized)
