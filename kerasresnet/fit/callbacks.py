"""What happens beside the training steps: the guards, the averages, the record."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable

import keras
from keras import ops

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.run import Run


class OneTraining(keras.callbacks.CallbackList):
    """The callbacks of several calls of `model.fit` that are one training.

    They see one begin and one end, that of `end`: what a callback counts over epochs (Keras'
    `EarlyStopping`), or writes (`CSVLogger`), goes on from one call to the next.
    """

    def __init__(
        self, callbacks: list[keras.callbacks.Callback], model: keras.Model, epochs: int, steps: int
    ) -> None:
        shown = {"verbose": 0, "epochs": epochs, "steps": steps}
        super().__init__(callbacks, add_history=True, model=model, **shown)
        self._begun, self._logs = False, None

    def on_train_begin(self, logs=None):
        if not self._begun:
            super().on_train_begin(logs)
        self._begun = True

    def on_train_end(self, logs=None):
        self._logs = logs

    def end(self) -> None:
        """Tell the callbacks that the training has ended."""
        if self._begun:
            super().on_train_end(self._logs)


class ParameterBudget(keras.callbacks.Callback):
    """The last guard of the limit: counts what Keras really trains, before the first step.

    Frozen kernels count as well. Raises `UsageError` where the model has more than `limit`.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def on_train_begin(self, logs=None):
        counted = (v for v in self.model.variables if v.trainable or v.name == "kernel")
        count = sum(math.prod(v.shape) for v in counted)
        if count > self.limit:
            raise UsageError(
                f"the model has {count:,} trainable parameters, {count - self.limit:,} over the "
                f"limit of {self.limit:,}; narrow its channels or raise --max-params"
            )


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run with `KerasResNetError` as soon as the training loss is not a number."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(loss := logs["loss"]):
            raise KerasResNetError(
                f"the training loss became {loss} in epoch {self.epoch + 1}, step {batch + 1}; "
                "try a lower --learning-rate, a longer --warmup-epochs, or --precision float32"
            )


class StillGuessing(keras.callbacks.Callback):
    """Says once, after `epochs` epochs, where the training accuracy is that of a guess.

    A dead network (no activation, no gradient) shows so, and labels that do not fit. A guess hardly
    exceeds `guess`.
    """

    def __init__(self, guess: float, epochs: int) -> None:
        super().__init__()
        self.guess = guess
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epochs and logs["accuracy"] <= self.guess:
            print(
                f"\nkerasresnet.fit: after {self.epochs} epochs the training accuracy is "
                f"{logs['accuracy']:.2%}, no more than a guess: look at the images and their "
                "labels, or try another --learning-rate",
                file=sys.stderr,
                flush=True,
            )


class LearningRates(keras.callbacks.Callback):
    """Sets the learning rate of the compiled optimizer before every batch, by `schedule`.

    `schedule` maps the optimizer's count of finished batches to a rate, so a restored optimizer
    goes on where it was. Raises `UsageError` where the optimizer has a schedule of its own.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
        super().__init__()
        self.schedule = schedule

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        try:
            optimizer.learning_rate = float(self.schedule(optimizer.iterations))
        except TypeError:  # Keras refuses to set what moves by itself
            raise UsageError(
                "the optimizer's learning rate is a schedule already; compile with a number, or "
                "leave this callback out"
            ) from None


class WeightAverage(keras.callbacks.Callback):
    """Keeps an average of all of `network`'s weights, batch-norm statistics too, in `average`.

    `ema` keeps that share of the past at every step, less in the first ones: min(ema, (1 + t) /
    (10 + t)) at step t, so that the first weights are soon forgotten. `lookahead` averages at every
    so many steps, with 0.95^lookahead (t / T)^3 of the past, and sets `network` back to the average
    (arXiv 1907.08610, as in arXiv 2404.00498). Validation sees the average. `total_steps` is T.
    """

    def __init__(
        self,
        network: keras.Model,
        average: keras.Model,
        *,
        total_steps: int,
        ema: float | None = None,
        lookahead: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.average = average
        self.total_steps = total_steps
        self.ema = ema
        self.lookahead = lookahead

    def on_train_begin(self, logs=None):
        self.step = int(self.model.optimizer.iterations.numpy())
        if not self.step:
            self.average.set_weights(self.network.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.lookahead is None:
            self._move(min(self.ema, (1 + self.step) / (10 + self.step)))
        elif self.step % self.lookahead == 0 or self.step == self.total_steps:
            self._move(0.95**self.lookahead * (self.step / self.total_steps) ** 3, back=True)

    def _move(self, past: float, *, back: bool = False) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        averages, weights = self.average.weights, self.network.weights
        mixed = self._mix([a.value for a in averages], [w.value for w in weights], past)
        for average, weight, value in zip(averages, weights, mixed, strict=True):
            average.assign(value)
            if back:  # a copy, as JAX gives the memory of weights away at the next step
                weight.assign(ops.copy(value))

    @functools.cached_property
    def _mix(self) -> Callable[[list, list, float], list]:
        """past · averages + (1 − past) · weights; on JAX in one call, not one for each product."""

        def mix(averages, weights, past):
            return [past * a + (1 - past) * w for a, w in zip(averages, weights, strict=True)]

        if keras.backend.backend() != "jax":
            return mix
        import jax

        return jax.jit(mix)

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self) -> None:
        held = self.network.get_weights()
        self.network.set_weights(self.average.get_weights())
        self.average.set_weights(held)


class RunWriter(keras.callbacks.Callback):
    """Writes the run after every epoch: metrics, resumable state, and the network worth keeping.

    `network` is what trains, `kept` the same network in float32 and never compiled: what is saved
    loads without this package, and computes in float32 whatever the precision of the training.
    Where weights are averaged (`averaged`), `kept` holds the average already.
    """

    def __init__(
        self,
        run: Run,
        network: keras.Model,
        kept: keras.Model,
        *,
        keep: str,
        averaged: bool = False,
    ) -> None:
        super().__init__()
        self.run = run
        self.network = network
        self.kept = kept
        self.keep = keep
        self.averaged = averaged
        self.rows = run.metrics

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        row = {name: float(value) for name, value in (logs or {}).items()}
        optimizer = self.model.optimizer
        row["learning_rate"] = float(optimizer.learning_rate)
        if schedule := getattr(optimizer, "momentum_schedule", None):
            row["momentum"] = float(schedule(optimizer.iterations))
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        self.rows = [*self.rows[:epoch], {"epoch": epoch + 1, **row}]
        if self.keep == "last" or self._is_best():
            if not self.averaged:
                self.kept.set_weights(self.network.get_weights())
            self.run.save_model(self.kept)
        self.run.write_metrics(self.rows)
        # Last: a state says that all of its epoch is on disk.
        average = self.kept if self.averaged else None
        self.run.write_state(self.model, epoch + 1, self.rows, average=average)

    def _is_best(self) -> bool:
        scores = [row["val_accuracy"] for row in self.rows]
        return scores[-1] > max(scores[:-1], default=-1.0)
