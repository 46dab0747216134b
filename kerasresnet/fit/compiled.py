"""What a recipe asks of Keras: optimizer, schedule, loss; for `fit`, and for one of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerasresnet.errors import UsageError
from kerasresnet.recipe import NESTEROV, Recipe

if TYPE_CHECKING:
    import keras
    from keras.optimizers.schedules import LearningRateSchedule


def compile_model(model: keras.Model, recipe: Recipe, images: int) -> None:
    """Compile `model` for `recipe`: optimizer and schedules for epochs of `images` images.

    Labels are one-hot or integers. What you `save` then holds optimizer and loss of this package:
    where it is not installed, read it with `keras.saving.load_model(path, compile=False)`.
    """
    from kerasresnet.data import steps_per_epoch
    from kerasresnet.machine import on_tensorflow_cpu
    from kerasresnet.optim.loss import LabelCrossentropy

    model.compile(
        recipe_optimizer(recipe, steps_per_epoch(images, recipe.batch_size)),
        LabelCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        # Measured: on a CPU, XLA trains these networks at half the speed.
        jit_compile=False if on_tensorflow_cpu() else "auto",
    )


def recipe_optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of `recipe`, with its schedules inside, for any `model.compile`.

    The schedules are those of `recipe.epochs` epochs of `steps_per_epoch` batches. Raises
    `UsageError` for less than one batch.
    """
    from kerasresnet.optim.optimizers import build_optimizer
    from kerasresnet.optim.schedules import build_momentum_schedule

    rates, momentum_schedule = _rates(recipe, steps_per_epoch), None
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
        rates,
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
