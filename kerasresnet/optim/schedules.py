"""Schedules of the learning rate and of the momentum: functions of the batch number alone.

A schedule maps the number of finished batches (0 for the first) to a value, with `keras.ops`, so
that it runs inside a compiled step on every backend. It holds no state: an optimizer whose
`iterations` are restored is back at the right place. Constant and cosine are Keras' own classes.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import CosineDecay, ExponentialDecay, LearningRateSchedule

from kerasresnet.errors import UsageError, require, unknown

SCHEDULES = ("constant", "cosine", "cosine_restarts", "one_cycle")
ANNEALS = ("cos", "linear")

_serializable = keras.saving.register_keras_serializable(package="kerasresnet")


def build_schedule(
    name: str,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
    steps_per_epoch: int | None = None,
    first_cycle_steps: int | None = None,
    cycle_mult: float = 2.0,
    peak_fraction: float = 0.3,
    initial_fraction: float = 0.04,
    anneal: str = "cos",
) -> LearningRateSchedule:
    """The learning rate of a run of `total_steps` batches, warm-up included.

    `peak` is the highest learning rate; `initial_fraction` and `final_fraction` are in units of it.
    The first `warmup_steps` batches rise linearly to the value that the schedule then begins with.

    - ``constant``: `peak` throughout.
    - ``cosine``: half a cosine from `peak` to `final_fraction`, reached after the last batch. With
      `steps_per_epoch` it stands still within an epoch (counted after the warm-up), as PyTorch's
      CosineAnnealingLR does when stepped per epoch.
    - ``cosine_restarts``: SGDR (arXiv 1608.03983): a cosine of `first_cycle_steps` batches, then
      again from `peak`, each cycle `cycle_mult` times as long as the one before. `steps_per_epoch`
      means the same as above. The last cycle is cut where the run ends.
    - ``one_cycle``: Smith (arXiv 1708.07120, 1803.09820), placed as PyTorch's OneCycleLR places it:
      from `initial_fraction` up to `peak` after `peak_fraction` of the batches, then down to
      `final_fraction` at the last one, by half cosines or straight lines (`anneal`).

    Settings that belong to another schedule are ignored, but for a `steps_per_epoch` of one-cycle.
    Raises `UsageError` for an unknown name or a value out of its range.
    """
    if name not in SCHEDULES:
        raise UsageError(unknown("schedule", name, SCHEDULES))
    require(_is_number(peak) and peak > 0, "peak", peak, "a learning rate above 0")
    for label, fraction in (("final", final_fraction), ("initial", initial_fraction)):
        require(0 <= fraction <= 1, f"{label}_fraction", fraction, "between 0 and 1")
    steps = _steps_after_warmup(total_steps, warmup_steps)
    peak, final = float(peak), peak * final_fraction
    if name == "constant":
        schedule = ExponentialDecay(peak, steps, decay_rate=1.0)
    elif name == "cosine":
        schedule = CosineDecay(peak, steps, alpha=final_fraction)
    elif name == "cosine_restarts":
        schedule = CosineRestarts(peak, final, steps, first_cycle_steps, cycle_mult)
    else:
        schedule = OneCycle(
            peak * initial_fraction, peak, final, steps, peak_fraction=peak_fraction, anneal=anneal
        )
    if steps_per_epoch is not None:
        moves_by_epoch = name != "one_cycle"
        require(
            moves_by_epoch,
            "steps_per_epoch",
            steps_per_epoch,
            "None for one_cycle: it moves by batch",
        )
        schedule = Staircase(schedule, steps_per_epoch)
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


def build_momentum_schedule(
    *,
    total_steps: int,
    warmup_steps: int = 0,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    peak_fraction: float = 0.3,
    anneal: str = "cos",
) -> LearningRateSchedule:
    """One-cycle's momentum, which moves against the learning rate (arXiv 1803.09820, section 4.3).

    It falls from `max_momentum` to `base_momentum` while the learning rate rises, and climbs back
    while that falls; during the warm-up it stays at `max_momentum`. Both lie in [0, 1).
    Raises `UsageError` for a value out of its range.
    """
    require(0 <= max_momentum < 1, "max_momentum", max_momentum, "in [0, 1)")
    ordered = 0 <= base_momentum <= max_momentum
    require(ordered, "base_momentum", base_momentum, f"between 0 and max_momentum {max_momentum}")
    return OneCycle(
        max_momentum,
        base_momentum,
        max_momentum,
        _steps_after_warmup(total_steps, warmup_steps),
        peak_fraction=peak_fraction,
        anneal=anneal,
        first_step=warmup_steps,
    )


@_serializable
class WarmUp(LearningRateSchedule):
    """Rise linearly to the first value of `schedule` in `warmup_steps` batches, then follow it.

    Batch i gets (i + 1) / (warmup_steps + 1) of that value (arXiv 1706.02677, section 2.2). Keras'
    own warm-up begins at zero, and so spends its first batch on no update.
    """

    def __init__(self, schedule: LearningRateSchedule, warmup_steps: int) -> None:
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        ramp = ops.cast(step + 1, keras.config.floatx()) / (self.warmup_steps + 1)
        return ops.minimum(ramp, 1.0) * self.schedule(ops.maximum(step - self.warmup_steps, 0))

    def get_config(self) -> dict[str, Any]:
        return {"schedule": _serialize(self.schedule), "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        return cls(_deserialize(config["schedule"]), config["warmup_steps"])


@_serializable
class Staircase(LearningRateSchedule):
    """`schedule`, read at the first batch of each epoch and held for its `steps_per_epoch`."""

    def __init__(self, schedule: LearningRateSchedule, steps_per_epoch: int) -> None:
        _require_steps("steps_per_epoch", steps_per_epoch)
        self.schedule = schedule
        self.steps_per_epoch = steps_per_epoch

    def __call__(self, step: Any) -> Any:
        return self.schedule(step // self.steps_per_epoch * self.steps_per_epoch)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": _serialize(self.schedule), "steps_per_epoch": self.steps_per_epoch}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Staircase:
        return cls(_deserialize(config["schedule"]), config["steps_per_epoch"])


@_serializable
class CosineRestarts(LearningRateSchedule):
    """Half cosines from `peak` to `final`, again and again (SGDR, arXiv 1608.03983, equation 5).

    Cycles start at whole batches, known beforehand. Keras' CosineDecayRestarts finds its cycle
    with a float32 logarithm, and so gives the lowest value instead of `peak` at some restarts.
    """

    def __init__(
        self,
        peak: float,
        final: float,
        total_steps: int,
        first_cycle_steps: int | None,
        cycle_mult: float = 2.0,
    ) -> None:
        _require_steps("first_cycle_steps", first_cycle_steps)
        grows = _is_number(cycle_mult) and cycle_mult >= 1
        require(grows, "cycle_mult", cycle_mult, "a number of at least 1")
        self.peak, self.final = peak, final
        self.total_steps = total_steps
        self.first_cycle_steps = first_cycle_steps
        self.cycle_mult = cycle_mult
        self.lengths, self.starts = [first_cycle_steps], [0]
        while self.starts[-1] + self.lengths[-1] < total_steps:
            self.starts.append(self.starts[-1] + self.lengths[-1])
            self.lengths.append(round(first_cycle_steps * cycle_mult ** len(self.lengths)))

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "int32")
        starts = ops.convert_to_tensor(self.starts, dtype="int32")
        cycle = ops.sum(ops.cast(step >= starts, "int32")) - 1
        lengths = ops.convert_to_tensor(self.lengths, dtype=keras.config.floatx())
        finished = ops.cast(step - ops.take(starts, cycle), keras.config.floatx())
        fraction = ops.minimum(finished / ops.take(lengths, cycle), 1.0)
        return _between(self.peak, self.final, fraction, "cos")

    def get_config(self) -> dict[str, Any]:
        names = ("peak", "final", "total_steps", "first_cycle_steps", "cycle_mult")
        return {name: getattr(self, name) for name in names}


@_serializable
class OneCycle(LearningRateSchedule):
    """From `start` to `middle` and on to `end`, where PyTorch's OneCycleLR has them.

    `middle` stands at batch peak_fraction · total_steps − 1, `end` at total_steps − 1, both counted
    from `first_step`; before and after, the value stays. Too short a run begins at `middle`.
    """

    def __init__(
        self,
        start: float,
        middle: float,
        end: float,
        total_steps: int,
        *,
        peak_fraction: float = 0.3,
        anneal: str = "cos",
        first_step: int = 0,
    ) -> None:
        require(0 < peak_fraction < 1, "peak_fraction", peak_fraction, "between 0 and 1")
        if anneal not in ANNEALS:
            raise UsageError(unknown("anneal", anneal, ANNEALS))
        self.start, self.middle, self.end = start, middle, end
        self.total_steps = total_steps
        self.peak_fraction = peak_fraction
        self.anneal = anneal
        self.first_step = first_step

    def __call__(self, step: Any) -> Any:
        top = max(self.peak_fraction * self.total_steps - 1, 0.0)
        last = self.total_steps - 1.0
        step = ops.cast(step, keras.config.floatx()) - self.first_step
        step = ops.clip(step, 0.0, last)
        first = _between(self.start, self.middle, step / (top or 1.0), self.anneal)
        second = _between(self.middle, self.end, (step - top) / (last - top or 1.0), self.anneal)
        return ops.where(step < top, first, second)

    def get_config(self) -> dict[str, Any]:
        names = ("start", "middle", "end", "total_steps", "peak_fraction", "anneal", "first_step")
        return {name: getattr(self, name) for name in names}


def _between(start: float, end: float, fraction: Any, anneal: str) -> Any:
    """The value at `fraction` of the way from `start` to `end`."""
    if anneal == "cos":
        fraction = 0.5 * (1.0 - ops.cos(math.pi * fraction))
    return start + (end - start) * fraction


def _steps_after_warmup(total_steps: int, warmup_steps: int) -> int:
    _require_steps("total_steps", total_steps)
    fits = isinstance(warmup_steps, int) and 0 <= warmup_steps < total_steps
    require(fits, "warmup_steps", warmup_steps, f"fewer than the {total_steps} batches of the run")
    return total_steps - warmup_steps


def _require_steps(name: str, value: object) -> None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(is_count, name, value, "a number of batches, at least 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_serialize = keras.saving.serialize_keras_object
_deserialize = keras.saving.deserialize_keras_object
