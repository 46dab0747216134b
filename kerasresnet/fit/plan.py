"""What a command is about to do: whether it can be done, and a table of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasresnet.errors import UsageError

if TYPE_CHECKING:
    from kerasresnet.data import ImageData
    from kerasresnet.fit.options import FitOptions
    from kerasresnet.recipe import Recipe
    from kerasresnet.run import Run


def check_fits(recipe: Recipe, data: ImageData) -> int:
    """The number of training images to hold out for validation.

    Raises `UsageError` where the network's input, its classes or the split cannot take `data`.
    """
    spec = recipe.spec
    if tuple(spec.input_shape) != tuple(data.image_shape) or spec.classes != data.num_classes:
        shape, theirs = ("x".join(map(str, s)) for s in (data.image_shape, spec.input_shape))
        fitting = spec.replace(input_shape=data.image_shape, classes=data.num_classes)
        raise UsageError(
            f"{data.name} has images of {shape} in {data.num_classes} classes, and {spec} is for "
            f"{theirs} in {spec.classes}; write {fitting}"
        )
    held_out = round(recipe.val_fraction * len(data.x_train))
    if recipe.val_fraction and held_out < data.num_classes:
        raise UsageError(
            f"val_fraction {recipe.val_fraction:g} of {data.name} is {held_out} images, fewer than "
            f"its {data.num_classes} classes; raise --val-fraction, or train on all images with 0"
        )
    if recipe.batch_size > (left := len(data.x_train) - held_out):
        raise UsageError(
            f"{data.name} leaves {left:,} training images after validation, not one batch of "
            f"{recipe.batch_size:,}; lower --batch-size or --val-fraction"
        )
    return held_out


def print_plan(run: Run, recipe: Recipe, data: ImageData, options: FitOptions) -> None:
    """Spec, cost against the limit, data, recipe, device, and where the results go."""
    from kerasresnet.machine import describe_device, resolve_precision

    facts = run.facts
    held_out = check_fits(recipe, data)
    done = max((state.epoch for state in run.states()), default=0)
    rows = {
        "spec": str(recipe.spec),
        "parameters": f"{facts['parameters']:,} of {recipe.max_params:,} allowed "
        f"({facts['parameters'] / recipe.max_params:.1%})",
        "MACs": f"{facts['macs'] / 1e6:,.1f} M an image",
        "cost": f"{sum(recipe.pflop_by_epoch(len(data.x_train) - held_out)):.3g} PFLOP of training",
        "data": f"{data.name}: {len(data.x_train) - held_out:,} to train on, {held_out:,} to "
        f"validate, {len(data.x_test):,} to test; {data.source}",
        "recipe": f"{recipe.name}: {recipe.epochs} epochs of batches of {recipe.batch_size}"
        + (f", {done} of them done" if done else ""),
        "optimizer": f"{recipe.optimizer}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule}), weight decay {recipe.weight_decay:g} ({recipe.decay})",
        "augmentation": ", ".join(recipe.augment) or "none",
        "resolution": recipe.resolution or f"{recipe.sizes[0]}, always",
        "device": describe_device(),
        "precision": resolve_precision(recipe.precision),
        "seed": str(facts["seed"]),
        "run": str(run.path),
        "export": f"{options.export_dir / recipe.name}/" if options.export else "none",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(value))
    Console().print(table)
