"""What happens beside the training steps: the guards, the averages, the record."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import keras
import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.run import Run


class ParameterBudget(keras.callbacks.Callback):
    """The last guard of the limit: counts what Keras really trains, before the first step.

    Raises `UsageError` where the model has more than `limit` trainable parameters.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def on_train_begin(self, logs=None):
        count = sum(math.prod(v.shape) for v in self.model.trainable_variables)
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


class AveragedWeights(keras.callbacks.Callback):
    """Validates with the optimizer's moving average of the weights instead of the last ones.

    Keras' `SwapEMAWeights` swaps by adding and subtracting, which rounds the weights a little at
    every validation; this one copies, so that a resumed run equals one in one go.
    """

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """The averages are the model's weights inside this."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        optimizer = self.model.optimizer
        averages = optimizer._model_variables_moving_average
        for weight, average in zip(optimizer._trainable_variables, averages, strict=True):
            held = np.array(weight)
            weight.assign(average)
            average.assign(held)


class RunWriter(keras.callbacks.Callback):
    """Writes the run after every epoch: metrics, resumable state, and the network worth keeping.

    `network` is what trains, `kept` the same network in float32 and never compiled: what is saved
    loads without this package, and computes in float32 whatever the precision of the training.
    """

    def __init__(
        self,
        run: Run,
        network: keras.Model,
        kept: keras.Model,
        *,
        keep: str,
        averages: AveragedWeights | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.network = network
        self.kept = kept
        self.keep = keep
        self.averages = averages
        self.rows = run.metrics

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        row = {name: float(value) for name, value in (logs or {}).items()}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        self.rows = [*self.rows[:epoch], {"epoch": epoch + 1, **row}]
        if self.keep == "last" or self._is_best():
            with self.averages.in_model() if self.averages else contextlib.nullcontext():
                self.kept.set_weights(self.network.get_weights())
                self.run.save_model(self.kept)
        self.run.write_metrics(self.rows)
        # Last: a state says that all of its epoch is on disk.
        self.run.write_state(self.model, epoch + 1)

    def _is_best(self) -> bool:
        scores = [row["val_accuracy"] for row in self.rows]
        return scores[-1] > max(scores[:-1], default=-1.0)
