"""What recipes ask of every optimizer beyond Keras: decays, rates, a momentum that moves."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from kerasresnet.errors import UsageError, unknown

DECAYS = ("coupled", "decoupled")
NORM_AND_BIAS = ("gamma", "beta", "bias")


class RecipeRules:
    """What each ``Recipe<Name>`` adds to the Keras optimizer that it is mixed into.

    A subclass makes each momentum that moves a `MovingMomentum`; without one, a schedule of the
    momentum is left aside.
    """

    momentum_schedule: LearningRateSchedule | None = None
    # The scheduled momentum while a step is computed, a tensor; None at any other time.
    momentum_now: Any = None

    def __init__(
        self,
        *args: Any,
        decay: str = "coupled",
        decay_norm_and_bias: bool = False,
        norm_rate: float = 1.0,
        momentum_schedule: LearningRateSchedule | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.norm_rate = norm_rate
        if decay not in DECAYS:
            raise UsageError(unknown("decay", decay, DECAYS))
        self.decay = decay
        self.decay_norm_and_bias = decay_norm_and_bias
        self.momentum_schedule = momentum_schedule if self.momentum_moves() else None

    @classmethod
    def momentum_moves(cls) -> bool:
        """Whether the momentum can follow a schedule inside the compiled step."""
        return any(isinstance(member, MovingMomentum) for member in vars(cls).values())

    def build(self, variables: list[keras.Variable]) -> None:
        # By exact name: Keras' own exclusion also matches parts of a name.
        named = {i for i, variable in enumerate(variables) if variable.name in NORM_AND_BIAS}
        everything = set(range(len(variables)))
        self._decayed = everything if self.decay_norm_and_bias else everything - named
        self._norm_and_bias = named
        super().build(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            if not self.built:
                self.build(trainable_variables)
        if self.momentum_schedule is not None:
            # The count that Keras gives to the learning rate's schedule.
            self.momentum_now = self.momentum_schedule(self.iterations)
        try:
            super().apply(grads, trainable_variables)
        finally:
            self.momentum_now = None

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: `update_step` decays instead, by one rule and with one learning rate a step."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        if self.norm_rate != 1 and index in self._norm_and_bias:
            learning_rate = self.norm_rate * learning_rate
        if self.weight_decay and index in self._decayed:
            pull = self.weight_decay * ops.convert_to_tensor(variable)
            if self.decay == "coupled":
                gradient = ops.cast(gradient, variable.dtype) + pull
            else:
                self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * pull)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        schedule = self.momentum_schedule
        return super().get_config() | {
            "decay": self.decay,
            "decay_norm_and_bias": self.decay_norm_and_bias,
            "norm_rate": self.norm_rate,
            "momentum_schedule": schedule and keras.saving.serialize_keras_object(schedule),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        schedule = config.get("momentum_schedule")
        if schedule is not None:
            schedule = keras.saving.deserialize_keras_object(schedule, custom_objects)
        return super().from_config(config | {"momentum_schedule": schedule}, custom_objects)


class MovingMomentum:
    """A momentum attribute: a number, and the schedule's value inside a step."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.slot = f"_fixed_{name}"

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        if optimizer is None:
            return self
        now = optimizer.momentum_now
        return getattr(optimizer, self.slot) if now is None else now

    def __set__(self, optimizer: Any, value: float) -> None:
        setattr(optimizer, self.slot, value)
