"""What a recipe asks of Keras: optimizer, schedule, loss; for `fit`, and for one of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasresnet import machine
from kerasresnet.errors import UsageError
from kerasresnet.fit.strategy import shares_batches, synchronized_copy
from kerasresnet.recipe import NESTEROV, Recipe

if TYPE_CHECKING:
    import keras
    from keras.optimizers.schedules import LearningRateSchedule

    from kerasresnet.data.statistics import Statistics
    from kerasresnet.data.stored import Images


def network_for(
    recipe: Recipe, images: Images, statistics: Statistics | None = None
) -> keras.Model:
    """The network of `recipe` with new weights, in the layers that train fastest here.

    It normalises by `statistics` (default: CIFAR-10's); a whitening stem is that of `images`. Call
    this, and train, inside `machine.training_precision`.
    """
    from kerasresnet.network.build import build_model
    from kerasresnet.network.whiten import set_whitening

    network = build_model(
        recipe.spec,
        norm_momentum=recipe.norm_momentum,
        any_size=recipe.resolution is not None,
        **(statistics._asdict() if statistics else {}),
    )
    if recipe.spec.whiten:
        set_whitening(network, images)
    if shares_batches():
        return synchronized_copy(network)
    if machine.on_tensorflow_cpu():
        from kerasresnet.network.fast import fast_copy

        network = fast_copy(network, halves=machine.trains_by_halves(recipe.batch_size))
    return network


def compile_model(
    model: keras.Model, recipe: Recipe, images: int, *, rates: LearningRateSchedule | None = None
) -> None:
    """Compile `model` for `recipe`: optimizer and schedules for epochs of `images` images.

    `rates` are learning rates in place of the recipe's. Labels are one-hot or integers. What you
    `save` then holds optimizer and loss of this package: where it is not installed, read it with
    `keras.saving.load_model(path, compile=False)`.
    """
    from kerasresnet.data import steps_per_epoch
    from kerasresnet.optim.loss import LabelCrossentropy

    model.compile(
        recipe_optimizer(recipe, steps_per_epoch(images, recipe.batch_size), rates=rates),
        LabelCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        # Measured: on a CPU, XLA trains these networks at half the speed.
        jit_compile=False if machine.on_tensorflow_cpu() else "auto",
    )


def recipe_optimizer(
    recipe: Recipe, steps_per_epoch: int, *, rates: LearningRateSchedule | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer of `recipe`, with its schedules inside, for any `model.compile`.

    The schedules are those of `recipe.epochs` epochs of `steps_per_epoch` batches; `rates` are
    learning rates in place of them. Raises `UsageError` for less than one batch.
    """
    from kerasresnet.optim.optimizers import build_optimizer
    from kerasresnet.optim.schedules import build_momentum_schedule

    momentum_schedule = None
    if recipe.cycle_momentum:
        low, high = recipe.cycle_momentum
        momentum_schedule = build_momentum_schedule(
            total_steps=steps_per_epoch * recipe.epochs,
            warmup_steps=round(recipe.warmup_epochs * steps_per_epoch),
            base_momentum=low,
            max_momentum=high,
            peak_fraction=recipe.peak_at,
            anneal=recipe.anneal,
        )
    return build_optimizer(
        recipe.optimizer,
        rates or _rates(recipe, steps_per_epoch),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.optimizer in NESTEROV,
        weight_decay=recipe.weight_decay,
        decay=recipe.decay,
        decay_norm_and_bias=recipe.decay_norm_and_bias,
        norm_rate=recipe.norm_rate,
        momentum_schedule=momentum_schedule,
    )


def recipe_schedule(recipe: Recipe, steps_per_epoch: int) -> keras.callbacks.Callback:
    """The learning rates of `recipe` as a callback, for an optimizer of your own.

    The optimizer was made with a number as its learning rate; `recipe_optimizer` needs no callback.
    Raises `UsageError` for less than one batch, and where the recipe moves the momentum too, which
    no callback can do.
    """
    from kerasresnet.fit.callbacks import LearningRates

    if recipe.cycle_momentum:
        raise UsageError(
            f"recipe {recipe.name} moves the momentum as well, and only recipe_optimizer does "
            "that; use it, or leave cycle_momentum out"
        )
    return LearningRates(_rates(recipe, steps_per_epoch))


def _rates(recipe: Recipe, steps: int) -> LearningRateSchedule:
    from kerasresnet.optim.schedules import build_schedule

    return build_schedule(
        recipe.schedule,
        peak=recipe.learning_rate,
        total_steps=steps * recipe.epochs,
        warmup_steps=round(recipe.warmup_epochs * steps),
        final_fraction=recipe.final_fraction,
        steps_per_epoch=steps if recipe.schedule_step == "epoch" else None,
        first_cycle_steps=max(1, round(recipe.restart_epochs * steps)),
        cycle_mult=recipe.restart_growth,
        peak_fraction=recipe.peak_at,
        anneal=recipe.anneal,
    )
