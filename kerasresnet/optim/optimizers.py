"""Optimizers by name: Keras' own, with the decay and the moving momentum that recipes ask for.

Each has a subclass ``Recipe<Name>`` here, which adds `RecipeRules`: weight decay in both forms,
norm and bias parameters left out of it, and a momentum that follows a schedule inside the step.
SGD also gets PyTorch's rule, which is not Keras' as soon as the learning rate moves.

Constants that `build_optimizer` does not name are Keras', not PyTorch's. Epsilon is 1e-7 (PyTorch
1e-8; Adagrad 1e-10), and RMSprop and Adagrad add it inside the square root (PyTorch outside).
RMSprop averages squares with 0.9 (PyTorch 0.99), and its momentum holds steps that the learning
rate has already scaled (PyTorch scales them when it takes them). Adagrad starts its sums at 0.1
(PyTorch 0). Muon updates only matrices: convolution kernels get Adam's step from it. Ftrl derives
weights from its sums alone, and so forgets the initial ones at its first step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras.optimizers.schedules import LearningRateSchedule

from kerasresnet.errors import UsageError, require, unknown
from kerasresnet.optim.muon import ConvMuon
from kerasresnet.optim.rules import MovingMomentum, RecipeRules
from kerasresnet.optim.sgd import PyTorchSGD

_registered = keras.saving.register_keras_serializable(package="kerasresnet")


@_registered
class RecipeSGD(RecipeRules, PyTorchSGD):
    momentum = MovingMomentum()


@_registered
class RecipeConvMuon(RecipeRules, ConvMuon):
    momentum = MovingMomentum()


@_registered
class RecipeRMSprop(RecipeRules, keras.optimizers.RMSprop):
    """RMSprop whose momentum can move, though Keras' rule multiplies by a Python number."""

    @classmethod
    def momentum_moves(cls) -> bool:
        return True

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.momentum_now is not None:
            # Keras multiplies the buffer by its fixed number: make the product the scheduled one.
            buffer = self._momentums[self._get_variable_index(variable)]
            self.assign(buffer, buffer * (self.momentum_now / self.momentum))
        super().update_step(gradient, variable, learning_rate)


@_registered
class RecipeAdam(RecipeRules, keras.optimizers.Adam):
    beta_1 = MovingMomentum()


@_registered
class RecipeAdamW(RecipeRules, keras.optimizers.AdamW):
    beta_1 = MovingMomentum()


@_registered
class RecipeAdamax(RecipeRules, keras.optimizers.Adamax):
    beta_1 = MovingMomentum()


@_registered
class RecipeNadam(RecipeRules, keras.optimizers.Nadam):
    beta_1 = MovingMomentum()


@_registered
class RecipeLamb(RecipeRules, keras.optimizers.Lamb):
    beta_1 = MovingMomentum()


@_registered
class RecipeLion(RecipeRules, keras.optimizers.Lion):
    beta_1 = MovingMomentum()


@_registered
class RecipeScheduleFreeAdamW(RecipeRules, keras.optimizers.ScheduleFreeAdamW):
    """Its first beta stays: it recovers its average from the step before with the one of now."""


@_registered
class RecipeMuon(RecipeRules, keras.optimizers.Muon):
    momentum = MovingMomentum()
    adam_beta_1 = MovingMomentum()


@_registered
class RecipeAdagrad(RecipeRules, keras.optimizers.Adagrad):
    pass


@_registered
class RecipeAdadelta(RecipeRules, keras.optimizers.Adadelta):
    pass


@_registered
class RecipeAdafactor(RecipeRules, keras.optimizers.Adafactor):
    pass


@_registered
class RecipeFtrl(RecipeRules, keras.optimizers.Ftrl):
    pass


class _Optimizer(NamedTuple):
    """An optimizer, and what its constructor has."""

    rule: type[RecipeRules]
    momentum: tuple[str, ...] = ()  # what it calls the decay of the first moment
    nesterov: bool = False
    decay: str = "coupled"  # unless said
    norm_rate: str = "norm_rate"


_OPTIMIZERS = {
    "sgd": _Optimizer(RecipeSGD, ("momentum",), nesterov=True),
    "convmuon": _Optimizer(RecipeConvMuon, ("momentum",), nesterov=True, norm_rate="sgd_ratio"),
    "rmsprop": _Optimizer(RecipeRMSprop, ("momentum",)),
    "adam": _Optimizer(RecipeAdam, ("beta_1",)),
    "adamw": _Optimizer(RecipeAdamW, ("beta_1",), decay="decoupled"),
    "schedulefreeadamw": _Optimizer(RecipeScheduleFreeAdamW, ("beta_1",), decay="decoupled"),
    "adamax": _Optimizer(RecipeAdamax, ("beta_1",)),
    "nadam": _Optimizer(RecipeNadam, ("beta_1",)),
    "lamb": _Optimizer(RecipeLamb, ("beta_1",)),
    "lion": _Optimizer(RecipeLion, ("beta_1",)),
    "muon": _Optimizer(RecipeMuon, ("momentum", "adam_beta_1"), nesterov=True),
    "adagrad": _Optimizer(RecipeAdagrad),
    "adadelta": _Optimizer(RecipeAdadelta),
    "adafactor": _Optimizer(RecipeAdafactor),
    "ftrl": _Optimizer(RecipeFtrl),
}


def optimizer_names() -> tuple[str, ...]:
    """Every name that `build_optimizer` knows."""
    return tuple(sorted(_OPTIMIZERS))


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
    momentum_schedule: LearningRateSchedule | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer called `name` (see `optimizer_names`).

    `momentum`, in [0, 1), is the momentum of SGD, RMSprop and Muon and the first beta of Adam and
    its kin; the others have none and ignore it. `momentum_schedule` replaces it, batch by batch;
    schedule-free AdamW keeps its first beta, for its average is only right with a constant one.

    `weight_decay` is λ. ``coupled`` adds λw to the gradient, as PyTorch's `SGD` and `Adam` do;
    ``decoupled`` takes lr·λ·w from w before the step, as Keras and AdamW do (arXiv 1711.05101).
    With no `decay` said, the AdamWs are decoupled and the others coupled. Variables called gamma,
    beta or bias decay only with `decay_norm_and_bias`.

    `norm_rate` is the learning rate of variables called gamma, beta or bias in units of the others'
    (None: 1); with convmuon that of all but convolution kernels (None: 8).

    Raises `UsageError` for an unknown name or a value out of its range.
    """
    if name not in _OPTIMIZERS:
        raise UsageError(unknown("optimizer", name, optimizer_names()))
    row = _OPTIMIZERS[name]
    if momentum_schedule is not None and row.rule.momentum_moves():
        momentum = float(momentum_schedule(0))
    if not isinstance(learning_rate, LearningRateSchedule):
        require(learning_rate > 0, "learning_rate", learning_rate, "above 0")
        learning_rate = float(learning_rate)
    require(0 <= momentum < 1, "momentum", momentum, "in [0, 1)")
    require(weight_decay >= 0, "weight_decay", weight_decay, "at least 0")
    require(norm_rate is None or norm_rate > 0, "norm_rate", norm_rate, "above 0")
    settings: dict[str, Any] = dict.fromkeys(row.momentum, momentum)
    if nesterov:
        can = row.nesterov and momentum > 0
        require(can, "nesterov", True, f"for SGD with momentum, not for {name} with {momentum}")
        settings["nesterov"] = True
    if norm_rate is not None:
        settings[row.norm_rate] = norm_rate
    return row.rule(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        decay=decay or row.decay,
        decay_norm_and_bias=decay_norm_and_bias,
        momentum_schedule=momentum_schedule,
        **settings,
    )
