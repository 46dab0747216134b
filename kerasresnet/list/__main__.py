"""What can be asked for by name, a line each.

python -m kerasresnet.list recipes
python -m kerasresnet.list augmentations
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Literal, get_args

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasresnet.augment.policy import Step
from kerasresnet.command import exit_on_error, parse
from kerasresnet.data.catalog import CATALOG
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import NAMED_SPECS, ResNetSpec
from kerasresnet.recipe import NESTEROV, OPTIMIZERS, Recipe

Kind = Literal["recipes", "specs", "data", "optimizers", "augmentations"]
Row = tuple[str, ...]  # the first one names the columns


@dataclass(frozen=True)
class ListOptions:
    """What can be asked for by name."""

    kind: Annotated[tyro.conf.Positional[Kind], tyro.conf.arg(metavar="|".join(get_args(Kind)))]
    """recipes for --recipe (with the PFLOP of a training on CIFAR-10), specs for --spec, data sets
    for --data, optimizers for --optimizer, augmentations for --augment."""


def recipes() -> Iterator[Row]:
    yield "recipe", "network", "parameters", "epochs", "PFLOP"
    for name in Recipe.names():
        recipe = Recipe.named(name)
        held_out = round(recipe.val_fraction * 50_000)
        colour = recipe.spec.input_shape == (32, 32, 3)
        pflop = f"{sum(recipe.pflop_by_epoch(50_000 - held_out)):.2g}" if colour else ""
        count = f"{count_parameters(recipe.spec):,}"
        share = f" x {recipe.epoch_share:g}" if recipe.epoch_share < 1 else ""
        yield name, str(recipe.spec), count, f"{recipe.epochs}{share}", pflop


def specs() -> Iterator[Row]:
    yield "spec", "network", "parameters", "million MACs an image"
    for name, text in NAMED_SPECS.items():
        spec = ResNetSpec.from_text(text)
        yield name, text, f"{count_parameters(spec):,}", f"{count_macs(spec) / 1e6:,.1f}"


def data() -> Iterator[Row]:
    yield "data set", "to train on", "size", "classes", "recipe", "licence"
    for row in CATALOG.values():
        size = "x".join(map(str, row.image_shape))
        count = f"{row.train_images:,}"
        yield row.name, count, size, str(row.classes), row.recipe, row.licence


def optimizers() -> Iterator[Row]:
    yield "optimizer", "takes --nesterov"
    for name in OPTIMIZERS:
        yield name, "yes" if name in NESTEROV else ""


def augmentations() -> Iterator[Row]:
    yield "augmentation", "what it does"
    for step in get_args(Step):
        settings = ", ".join(
            each.name if each.default is MISSING else f"{each.name}={each.default!r}".lower()
            for each in fields(step)
        )
        name = step.__name__.lower()
        what = " ".join((step.__doc__ or "").split("\n\n")[0].split())
        yield f"{name}({settings})" if settings else name, what


LISTS: dict[Kind, Callable[[], Iterator[Row]]] = {
    "recipes": recipes,
    "specs": specs,
    "data": data,
    "optimizers": optimizers,
    "augmentations": augmentations,
}


def print_list(kind: Kind) -> None:
    """Print the list of that kind, as wide as the terminal."""
    columns, *rows = LISTS[kind]()
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        counts = number and all(row[number][:1].isdigit() or not row[number] for row in rows)
        table.add_column(column, overflow="fold", justify="right" if counts else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def main() -> None:
    with exit_on_error("kerasresnet.list"):
        print_list(parse(ListOptions, None, prog="python -m kerasresnet.list").kind)


if __name__ == "__main__":
    main()
