"""What a command is about to do: whether it can be done, and a table of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.command import print_facts
from kerasresnet.errors import UsageError
from kerasresnet.fit.options import check_seed
from kerasresnet.fit.strategy import Strategy, check_devices
from kerasresnet.network.budget import check_budget, count_macs, count_parameters
from kerasresnet.run import taken, versions

if TYPE_CHECKING:
    from kerasresnet.data import DataRequest, ImageData
    from kerasresnet.data.pipeline import Part
    from kerasresnet.data.statistics import Statistics
    from kerasresnet.recipe import Recipe


def prepare(
    recipe: Recipe,
    request: DataRequest,
    seed: int,
    *,
    data: ImageData | None = None,
    run_dir: Path | None = None,
    data_dir: Path | None = None,
    strategy: Strategy = "single",
    verbose: bool = True,
) -> tuple[Recipe, ImageData, dict[str, Any]]:
    """Check all that was asked for, load the data; the recipe for it, it, and the facts of a run.

    `data` is what `request` asks for, where it is loaded already. Raises `UsageError`.
    """
    check_seed(seed)
    if request.keeps_size:  # a mistake shows before anything is loaded
        check_budget(recipe.spec, recipe.max_params)
    if run_dir and run_dir.exists():
        raise taken(run_dir)
    if data is None:
        request = request.for_input(recipe.spec.input_shape)
        data = request.load(data_dir, verbose=verbose)
    recipe = fitted(recipe, data.image_shape, data.num_classes)
    check_budget(recipe.spec, recipe.max_params)
    check_fits(recipe, data)
    facts = {
        **facts_of(recipe, seed, data.class_names, check_devices(strategy, recipe)),
        **request.to_facts(data),
        "source": data.source,
        "skipped": list(data.skipped) or None,
    }
    return recipe, data, facts


def facts_of(
    recipe: Recipe, seed: int, class_names: Sequence[str], devices: Sequence[str] = ()
) -> dict[str, Any]:
    """What run.json says of any training that begins here now; `devices` share its batches."""
    from kerasresnet.machine import describe_device, resolve_precision

    return {
        "name": recipe.name,
        "seed": seed,
        "precision": resolve_precision(recipe.precision),
        "device": (f"{len(devices)} x " if devices else "") + describe_device(),
        "parameters": count_parameters(recipe.spec),
        "macs": count_macs(recipe.spec),
        "labels": list(class_names),
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def fitted(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> Recipe:
    """`recipe` for images of `shape` in `classes`, which a spec follows in what it does not say.

    What is not the default, such as classes7, stays: `check_fits` refuses what cannot be. Raises
    `UsageError` where a network for such images cannot be built.
    """
    spec, fields = recipe.spec, type(recipe.spec).model_fields
    found = {"input_shape": tuple(shape), "classes": classes}
    changes = {n: v for n, v in found.items() if getattr(spec, n) == fields[n].default != v}
    return recipe.replace(spec=spec.replace(**changes)) if changes else recipe


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
    if data.x_val is not None:
        check_batch(recipe, data.name, len(data.x_train))
        return 0
    held_out = round(recipe.val_fraction * len(data.x_train))
    if recipe.val_fraction and held_out < data.num_classes:
        raise UsageError(
            f"val_fraction {recipe.val_fraction:g} of {data.name} is {held_out} images, fewer than "
            f"its {data.num_classes} classes; raise --val-fraction, or train on all images with 0"
        )
    smallest = min(np.bincount(data.y_train, minlength=data.num_classes))
    if held_out and smallest < 2:
        name = data.class_names[
            int(np.argmin(np.bincount(data.y_train, minlength=data.num_classes)))
        ]
        raise UsageError(
            f"{data.name} leaves {smallest} training images of {name!r}, and validation needs one "
            "beside; add some, or train on all images with --val-fraction 0 --keep last"
        )
    check_batch(recipe, data.name, len(data.x_train) - held_out)
    return held_out


def divided(recipe: Recipe, data: ImageData, seed: int) -> tuple[Part, Part, Statistics | None]:
    """Images to train on and to validate on, and what to normalise by (None: as the network does).

    Raises `UsageError` as `check_fits` does.
    """
    from kerasresnet.data import train_val_split
    from kerasresnet.data.statistics import channel_statistics

    held_out = check_fits(recipe, data)
    if data.x_val is None:
        train, val = train_val_split(data.x_train, data.y_train, held_out, seed)
    else:
        train, val = (data.x_train, data.y_train), (data.x_val, data.y_val)
    return train, val, channel_statistics(train[0]) if data.own_statistics else None


def check_batch(recipe: Recipe, name: str, left: int) -> None:
    """Raises `UsageError` where the training images do not fill one batch."""
    if recipe.batch_size > recipe.images_by_epoch(left):
        rest = recipe.epoch_share < 1
        share = f", {recipe.epoch_share:g} of them in an epoch" if rest else ""
        raise UsageError(
            f"{name} leaves {left:,} training images after validation{share}, not one batch of "
            f"{recipe.batch_size:,}; lower --batch-size or --val-fraction"
            + (", or give --epoch-share 1" if rest else "")
        )


def print_plan(
    recipe: Recipe,
    data: ImageData,
    facts: Mapping[str, Any],
    *,
    done: int = 0,
    run: str,
    export: Path | None,
) -> None:
    """Spec, cost against the limit, data, recipe, device, and where the results go.

    `facts` are those of run.json; `done` epochs are trained already; `run` and `export` say where
    these go.
    """
    from kerasresnet.machine import describe_device, resolve_precision

    held_out = check_fits(recipe, data)
    validated = held_out if data.x_val is None else len(data.x_val)
    rows = {
        "spec": str(recipe.spec),
        "parameters": f"{facts['parameters']:,} of {recipe.max_params:,} allowed "
        f"({facts['parameters'] / recipe.max_params:.1%})",
        "MACs": f"{facts['macs'] / 1e6:,.1f} M an image",
        "cost": f"{sum(recipe.pflop_by_epoch(len(data.x_train) - held_out)):.3g} PFLOP of training",
        "data": f"{data.name}: {len(data.x_train) - held_out:,} to train on, {validated:,} to "
        f"validate, {len(data.x_test):,} to test; {data.source}",
        "classes": _classes(data),
        "recipe": f"{recipe.name}: {recipe.epochs} epochs of "
        + (f"{recipe.epoch_share:g} of the images, in " if recipe.epoch_share < 1 else "")
        + f"batches of {recipe.batch_size}"
        + (f", {done} of them done" if done else ""),
        "optimizer": f"{recipe.optimizer}, learning rate {recipe.learning_rate:g} "
        f"({recipe.schedule}), weight decay {recipe.weight_decay:g} ({recipe.decay})",
        "augmentation": ", ".join(recipe.augment) or "none",
        "resolution": recipe.resolution or f"{recipe.sizes[0]}, always",
        "device": describe_device(),
        "precision": resolve_precision(recipe.precision),
        "seed": str(facts["seed"]),
        "run": run,
        "export": f"{export / recipe.name}/" if export else "none",
    }
    print_facts(rows)


def tell_oddities(recipe: Recipe, data: ImageData) -> None:
    """A line on stderr for each thing about the images that often is a mistake."""
    from kerasresnet.data.oddities import oddities

    for sentence in oddities(data, balanced=recipe.class_weights == "balanced"):
        print(f"kerasresnet.fit: {data.name}: {sentence}", file=sys.stderr)


def _classes(data: ImageData) -> str:
    """How many, their names as far as a line holds them, and how many images the rarest has."""
    counts = np.bincount(data.y_train, minlength=data.num_classes)
    names = ", ".join(data.class_names)
    names = names if len(names) <= 100 else f"{names[:99]}…"
    return f"{data.num_classes}, {counts.min():,} to {counts.max():,} images each: {names}"
