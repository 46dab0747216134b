"""Optimizers by name: Keras' own, with the decay and the moving momentum that recipes ask for.

Each class of `keras.optimizers` gets a subclass ``Recipe<Name>`` that adds three things:
weight decay in both forms, norm and bias parameters left out of it, and a momentum that follows a
schedule inside the compiled step. SGD also gets PyTorch's rule, which is not Keras' as soon as the
learning rate moves.

Constants that `build_optimizer` does not name are Keras', not PyTorch's. Epsilon is 1e-7 (PyTorch
1e-8; Adagrad 1e-10), and RMSprop and Adagrad add it inside the square root (PyTorch outside).
RMSprop averages squares with 0.9 (PyTorch 0.99), and its momentum holds steps that the learning
rate has already scaled (PyTorch scales them when it takes them). Adagrad starts its sums at 0.1
(PyTorch 0). Muon updates only matrices: convolution kernels get Adam's step from it. Ftrl derives
weights from its sums alone, and so forgets the initial ones at its first step.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from kerasresnet.errors import UsageError, unknown
from kerasresnet.optim.muon import ConvMuon
from kerasresnet.optim.sgd import PyTorchSGD

DECAYS = ("coupled", "decoupled")
NORM_AND_BIAS = ("gamma", "beta", "bias")
# What Keras' constructors call the decay of the first moment, which one-cycle moves.
_MOMENTA = ("momentum", "beta_1", "adam_beta_1")


def optimizer_names() -> tuple[str, ...]:
    """Every name that `build_optimizer` knows: `keras.optimizers` in lower case, and convmuon."""
    return tuple(sorted(_CLASSES))


def build_optimizer(
    name: str,
    learning_rate: float | LearningRateSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay: str | None = None,
    decay_norm_and_bias: bool = False,
    norm_rate: float | None = None,
    clipnorm: float | None = None,
    momentum_schedule: LearningRateSchedule | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer called `name` (see `optimizer_names`).

    `momentum`, in [0, 1), is the momentum of SGD, RMSprop and Muon and the first beta of Adam and
    its kin; the others have none and ignore it. `momentum_schedule` replaces it, batch by batch;
    schedule-free AdamW keeps its first beta, for its average is only right with a constant one.

    `weight_decay` is λ. ``coupled`` adds λw to the gradient after clipping, as PyTorch's `SGD` and
    `Adam` do; ``decoupled`` takes lr·λ·w from w before the step, as Keras and AdamW do (arXiv
    1711.05101). With no `decay` said, the AdamWs are decoupled and the others coupled. Variables
    called gamma, beta or bias decay only with `decay_norm_and_bias`.

    `norm_rate` is the learning rate of variables called gamma, beta or bias in units of the others'
    (None: 1); with convmuon that of all but convolution kernels (None: 8). `clipnorm` is the
    longest gradient of a single variable.

    Raises `UsageError` for an unknown name or a value out of its range.
    """
    if name not in _CLASSES:
        raise UsageError(unknown("optimizer", name, optimizer_names()))
    optimizer_class = _CLASSES[name]
    known = inspect.signature(optimizer_class.base).parameters
    momenta = [parameter for parameter in _MOMENTA if parameter in known]
    if momentum_schedule is not None and optimizer_class.momentum_moves:
        momentum = float(momentum_schedule(0))
    if not isinstance(learning_rate, LearningRateSchedule):
        _require(learning_rate > 0, "learning_rate", learning_rate, "above 0")
        learning_rate = float(learning_rate)
    _require(0 <= momentum < 1, "momentum", momentum, "in [0, 1)")
    _require(weight_decay >= 0, "weight_decay", weight_decay, "at least 0")
    _require(norm_rate is None or norm_rate > 0, "norm_rate", norm_rate, "above 0")
    _require(clipnorm is None or clipnorm > 0, "clipnorm", clipnorm, "above 0")
    settings: dict[str, Any] = dict.fromkeys(momenta, momentum)
    if nesterov:
        can = "nesterov" in known and momentum > 0
        _require(can, "nesterov", True, f"for SGD with momentum, not for {name} with {momentum}")
        settings["nesterov"] = True
    if norm_rate is not None:
        settings["sgd_ratio" if "sgd_ratio" in known else "norm_rate"] = norm_rate
    if decay is None:
        decay = "decoupled" if name.endswith("adamw") else "coupled"
    return optimizer_class(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        decay=decay,
        decay_norm_and_bias=decay_norm_and_bias,
        clipnorm=clipnorm,
        momentum_schedule=momentum_schedule,
        **settings,
    )


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {wanted}. Received: {name}={value!r}.")


class _RecipeRules:
    """What each ``Recipe<Name>`` adds to the Keras optimizer that it is mixed into."""

    base: type[keras.optimizers.Optimizer]
    momentum_moves: bool
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
        self.momentum_schedule = momentum_schedule if self.momentum_moves else None

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
            self.momentum_now = self.momentum_schedule(self._iterations)
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


class _MovingMomentum:
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


class _MovingRMSprop(keras.optimizers.RMSprop):
    """RMSprop whose momentum can move, though Keras' rule multiplies by a Python number."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.momentum_now is not None:
            # Keras multiplies the buffer by its fixed number: make the product the scheduled one.
            buffer = self._momentums[self._get_variable_index(variable)]
            self.assign(buffer, buffer * (self.momentum_now / self.momentum))
        super().update_step(gradient, variable, learning_rate)


def _recipe_class(base: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """The serializable subclass ``Recipe<Name>`` of a class of `keras.optimizers`."""
    rule = {"SGD": PyTorchSGD, "RMSprop": _MovingRMSprop}.get(base.__name__, base)
    momenta = [name for name in _MOMENTA if name in inspect.signature(base).parameters]
    # Schedule-free AdamW recovers its average from the step before with the first beta of now.
    moves = bool(momenta) and base.__name__ != "ScheduleFreeAdamW"
    body = {"base": base, "momentum_moves": moves, "__module__": __name__, "__doc__": rule.__doc__}
    if moves and rule is not _MovingRMSprop:
        body |= {name: _MovingMomentum() for name in momenta}
    recipe_class = type(f"Recipe{base.__name__}", (_RecipeRules, rule), body)
    return keras.saving.register_keras_serializable(package="kerasresnet")(recipe_class)


def _is_complete(member: object) -> bool:
    """Whether `member` is an optimizer that a learning rate is enough to construct."""
    if not (inspect.isclass(member) and issubclass(member, keras.optimizers.Optimizer)):
        return False
    parameters = inspect.signature(member).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return not required and "learning_rate" in inspect.signature(member).parameters


_CLASSES = {
    name.lower(): _recipe_class(member)
    for name, member in vars(keras.optimizers).items()
    if _is_complete(member)
} | {"convmuon": _recipe_class(ConvMuon)}
