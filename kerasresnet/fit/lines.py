"""What a training says while it goes: how long it will take, and a line for each epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

import keras

from kerasresnet.command import duration

WIDTH = 79  # letters: a terminal of 80 breaks none
OFTEN = 0.5  # seconds between two looks at an epoch that goes


class EpochLines(keras.callbacks.Callback):
    """Prints a line when an epoch ends, with the time that the rest of the run will take.

    That time is told first when some steps have been timed. On a terminal a passing line says how
    far the epoch is. `pflop` is what each epoch of the whole run costs, `steps` how many an epoch
    has.
    """

    WARM, TIMED = 5, 20  # steps

    def __init__(self, pflop: Sequence[float], steps: int) -> None:
        super().__init__()
        self.pflop = pflop
        self.steps = steps
        self.done = 0  # steps, of this process
        self.spent = self.cost = 0.0  # seconds and PFLOP of its epochs, once it is warm
        self.looked = 0.0
        self.passing = sys.stdout.isatty()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.began, self.counted = time.perf_counter(), self.pflop[epoch]

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self.done += 1
        if self.done == self.WARM:
            self.timed = now
            if batch + 1 < self.steps:  # what came before was compiling, for the most part
                self.began, self.counted = now, self.counted * (1 - (batch + 1) / self.steps)
        elif self.done == self.WARM + self.TIMED:
            self._say(self._first(now - self.timed))
        if self.passing and now - self.looked > OFTEN:
            self.looked = now
            self._say(f"{self._of()}: step {batch + 1}/{self.steps}  loss {_scores(logs)}", end="")

    def on_epoch_end(self, epoch, logs=None):
        self.spent += time.perf_counter() - self.began
        self.cost += self.counted
        line = f"{self._of()}  loss {_scores(logs)}"
        if "val_loss" in logs:
            line += f"  val. {_scores(logs, 'val_')}"
        if left := sum(self.pflop[epoch + 1 :]):
            line += f"  {duration(left * self.spent / self.cost)} left"
        self._say(line)

    def _of(self) -> str:
        return f"epoch {self.epoch + 1:>{len(str(len(self.pflop)))}}/{len(self.pflop)}"

    def _first(self, seconds: float) -> str:
        """How fast it is, and how long it will take, by the `seconds` of the timed steps."""
        step, left = seconds / self.TIMED, sum(self.pflop[self.epoch :])
        rate = self.pflop[self.epoch] / self.steps / step
        return (
            f"{step:.2f} s a step, {1000 * rate:.2f} TFLOP/s: about {duration(left / rate)} for "
            f"the {left:.2g} PFLOP of training"
        )

    def _say(self, line: str, end: str = "\n") -> None:
        """A line, in place of the passing one where there is a terminal."""
        print(f"\r{line:<{WIDTH}}" if self.passing else line, end=end, flush=True)


def _scores(logs: Mapping[str, float], of: str = "") -> str:
    return f"{logs[of + 'loss']:.3f}  {100 * logs[of + 'accuracy']:.2f} %"
