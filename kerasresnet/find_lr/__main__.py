"""Which learning rate a recipe could take on some data: the range test, as a picture.

python -m kerasresnet.find_lr --data digits
python -m kerasresnet.find_lr --recipe quick --optimizer adam --steps 200 --out rates
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kerasresnet.command import exit_on_error, parse, waiting_for
from kerasresnet.data.options import DataOptions
from kerasresnet.disk import write_json
from kerasresnet.errors import UsageError
from kerasresnet.find_lr.sweep import Sweep, sweep
from kerasresnet.fit.options import check_seed
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.recipe import Recipe
from kerasresnet.report.canvas import BLUE, FAINT, ORANGE, new_figure, save, wrapped

if TYPE_CHECKING:
    from kerasresnet.data import DataRequest


@dataclass(frozen=True)
class FindOptions(DataOptions):
    """The learning-rate range test: some steps, each at a higher rate, and what the loss does."""

    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE")] = None
    """A named recipe or a TOML file (default: what suits the data)."""
    spec: Annotated[str | None, tyro.conf.arg(metavar="SPEC")] = None
    """Another network than the recipe's."""
    optimizer: str | None = None
    """Another optimizer than the recipe's."""
    batch_size: int | None = None
    """Other batches than the recipe's."""
    lowest: float = 1e-5
    """The learning rate of the first step."""
    highest: float = 10.0
    """The learning rate of the last step, which few trainings reach."""
    steps: int = 100
    """Steps in all."""
    seed: int = 0
    """Seed of weights, split, order and augmentation."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("find-lr")
    """Where find-lr.png and find-lr.json go, in place of those of before."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: FindOptions) -> tuple[Recipe, DataRequest]:
    """The recipe and the images that are asked for. Raises `UsageError`."""
    check_seed(options.seed)
    if not 0 < options.lowest < options.highest:
        raise UsageError(
            f"--lowest is above 0 and below --highest, received {options.lowest:g} and "
            f"{options.highest:g}"
        )
    if options.steps < 10:
        raise UsageError(f"--steps is 10 or more, received {options.steps}")
    request = options.request()
    recipe = Recipe.load(options.recipe or request.default_recipe())
    asked = {name: getattr(options, name) for name in ("spec", "optimizer", "batch_size")}
    return recipe.replace(**{n: v for n, v in asked.items() if v is not None}), request


def find(options: FindOptions, recipe: Recipe, request: DataRequest) -> tuple[Sweep, dict]:
    """Sweep the rates on the recipe's own training images; the sweep and what it was made with."""
    from kerasresnet.fit.plan import divided, prepare

    recipe, data, facts = prepare(recipe, request, options.seed, data_dir=options.data_dir)
    train, _, statistics = divided(recipe, data, options.seed)
    found = sweep(
        recipe,
        train,
        lowest=options.lowest,
        highest=options.highest,
        steps=options.steps,
        seed=options.seed,
        statistics=statistics,
    )
    return found, facts | {"recipe": recipe.model_dump(mode="json") | {"spec": str(recipe.spec)}}


def draw(found: Sweep, path: Path, title: str) -> Path:
    """Loss against rate, the suggestion marked, as a picture at `path`."""
    figure = new_figure(8, 4.5)
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, ".", color=FAINT, markersize=4, label="a batch")
    axis.plot(found.rates, found.smoothed, color=BLUE, label="smoothed")
    words = f"a tenth of the rate of the lowest: {found.suggestion:.2g}"
    axis.axvline(found.suggestion, color=ORANGE, linestyle="--", label=words)
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    # What diverged would press all else flat.
    axis.set_ylim(0.9 * min(found.losses), 1.5 * found.smoothed[0])
    axis.legend(frameon=False)
    figure.suptitle(wrapped(title, 80))
    return save(figure, path)


def write(found: Sweep, facts: dict[str, Any], folder: Path) -> Path:
    """Write find-lr.json and find-lr.png into `folder`; raises where the loss falls nowhere."""
    figures = {**asdict(found), "suggestion": found.suggestion}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "find-lr.json", facts | figures)
    recipe = facts["recipe"]
    title = f"{facts['name']}: {recipe['spec']} on {facts['data']}, {recipe['optimizer']}"
    return draw(found, folder / "find-lr.png", title)


def main() -> None:
    with exit_on_error("kerasresnet.find_lr"):
        options = parse(FindOptions, None, prog="python -m kerasresnet.find_lr")
        recipe, request = check_options(options)
        with waiting_for("TensorFlow to start"):
            quiet_tensorflow(options.verbose, training=True)
        found, facts = find(options, recipe, request)
        print(
            f"{write(found, facts, options.out)}: try --learning-rate {found.suggestion:.2g}, a "
            f"tenth of the rate at which the loss was lowest"
        )


if __name__ == "__main__":
    main()
