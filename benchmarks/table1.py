"""All rows of the report's Table 1 at one small, equal cost, each by its own recipe.

python benchmarks/table1.py --dry-run     the plan: images, epochs and cost of every row
python benchmarks/table1.py               12 rows, seeds 0, 1, 2, 0.1 PFLOP each; resumes
python -m kerasresnet.report --into docs/table1.md

A row's network, optimizer, learning rate, decay, batch size, augmentation and validation share are
those of its recipe, table1-01 … table1-12. Three things differ: the epochs are few; the cosine
moves after every batch, for so few epochs would be too few steps; and a row trains on as many of
the training images, every class in proportion, as cost what every other row costs: more MACs,
fewer images. Seeds are the same for all rows, and come one after the other, so that all rows can
be compared early. results/table1/<row>/seed<n>.json hold what was measured.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.fit.plan import facts_of
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.recipe import Recipe
from kerasresnet.report.table1 import ROWS, recipe_of
from kerasresnet.run import Run

if TYPE_CHECKING:
    from kerasresnet.data import ImageData


@dataclass(frozen=True)
class Table1Options:
    """Train the rows of Table 1 at one small, equal cost; the same command goes on."""

    pflop: float = 0.1
    """What a training costs, in 10^15 operations: 6 for each MAC of each image of each epoch."""
    epochs: int = 4
    """Times that every training image is seen."""
    rows: tuple[int, ...] = tuple(ROWS)
    """Rows of the table."""
    seeds: int = 3
    """Trainings of every row, with the seeds 0, 1, 2, …"""
    data: Literal["cifar10", "digits"] = "cifar10"
    """cifar10 is fetched at first use; digits needs no network."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    runs: Path = Path("runs/table1")
    """Where the runs go, <row>-seed<n>."""
    out: Path = Path("results/table1")
    """Where the results go, <row>/seed<n>.json."""
    dry_run: bool = False
    """Print the plan, and train nothing."""


class Plan(NamedTuple):
    """How a row trains: its recipe, on so many images, of so many with those of validation."""

    row: int
    recipe: Recipe
    images: int
    part: int

    @property
    def pflop(self) -> float:
        return sum(self.recipe.pflop_by_epoch(self.images))


def plan(row: int, pflop: float, epochs: int) -> Plan:
    """A row's recipe for `epochs` epochs of whole batches, as many as come nearest to `pflop`.

    Raises `UsageError` where that is not one batch.
    """
    full = recipe_of(row)
    recipe = full.replace(name=f"{full.name}-small", epochs=epochs, schedule_step="batch")
    batch = recipe.batch_size
    steps = round(pflop / sum(recipe.pflop_by_epoch(batch)))
    if steps < 1:
        raise UsageError(
            f"row {row} costs {sum(recipe.pflop_by_epoch(batch)):.2g} PFLOP for {epochs} epochs of "
            f"one batch of {batch}, more than {pflop:g}; raise --pflop or lower --epochs"
        )
    images = steps * batch
    return Plan(row, recipe, images, with_validation(images, recipe.val_fraction))


def with_validation(images: int, fraction: float) -> int:
    """The number of images of which `images` are left when `fraction` is held out, rounded."""
    part = max(images, int(images / (1 - fraction)) - 2)
    while part - round(fraction * part) < images:
        part += 1
    return part


def check(options: Table1Options) -> list[Plan]:
    """The plan of every row. Raises `UsageError` where it is none, or results there are others'."""
    if wrong := [row for row in options.rows if row not in ROWS]:
        raise UsageError(f"rows are {ROWS[0]} to {ROWS[-1]}, received {wrong[0]}")
    if options.seeds < 1 or options.epochs < 1 or not options.rows:
        raise UsageError("--rows, --seeds and --epochs are at least one")
    plans = [plan(row, options.pflop, options.epochs) for row in dict.fromkeys(options.rows)]
    for each in plans:
        for path in (options.out / f"{each.row:02}").glob("seed*.json"):
            there = read_json(path)
            if (there["data"], there["images"]["train"], len(there["epochs"])) != (
                options.data,
                each.images,
                options.epochs,
            ):
                raise UsageError(
                    f"{path} has {len(there['epochs'])} epochs of {there['images']['train']:,} "
                    f"images of {there['data']}, and {options.epochs} of {each.images:,} of "
                    f"{options.data} are asked for; choose another --out and --runs"
                )
    return plans


def print_plan(plans: list[Plan], options: Table1Options) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("row", justify="right")
    for title in ("network", "optimizer"):
        table.add_column(title)
    for title in ("parameters", "MACs", "images", "epochs", "PFLOP", "done"):
        table.add_column(title, justify="right")
    for each in plans:
        recipe = each.recipe
        done = sum(result_path(each, seed, options).is_file() for seed in range(options.seeds))
        table.add_row(
            str(each.row),
            str(recipe.spec),
            f"{recipe.optimizer}, {recipe.learning_rate:g}",
            f"{count_parameters(recipe.spec):,}",
            f"{count_macs(recipe.spec) / 1e6:.1f} M",
            f"{each.images:,}",
            str(recipe.epochs),
            f"{each.pflop:.4f}",
            f"{done} of {options.seeds}",
        )
    console = Console(width=max(110, Console().width), highlight=False)
    console.print(table)
    total = options.seeds * sum(each.pflop for each in plans)
    console.print(f"{len(plans) * options.seeds} trainings on {options.data}, {total:.3g} PFLOP")


def result_path(each: Plan, seed: int, options: Table1Options) -> Path:
    return options.out / f"{each.row:02}" / f"seed{seed}.json"


def part_of(data: ImageData, images: int, seed: int) -> ImageData:
    """`data` with so many of its training images, every class in proportion, by `seed`.

    Raises `UsageError` where it has fewer.
    """
    from kerasresnet.data import train_val_split

    spare = len(data.x_train) - images
    if spare < 0:
        raise UsageError(
            f"{data.name} has {len(data.x_train):,} training images, and {images:,} are asked for; "
            "lower --pflop or raise --epochs"
        )
    (x, y), _ = train_val_split(data.x_train, data.y_train, spare, seed)
    return dataclasses.replace(data, x_train=x, y_train=y)


def train(each: Plan, seed: int, data: ImageData, options: Table1Options) -> dict[str, Any]:
    """Train a row, or train it on, and write its results down."""
    from kerasresnet.fit.training import train_run

    path, recipe = options.runs / f"{each.row:02}-seed{seed}", each.recipe
    if (path / "run.json").is_file():
        run = Run.open(path)
        if run.recipe != recipe or run.facts["images"] != {"part": each.part}:
            raise UsageError(f"{path} is a run of another cost; choose another --runs")
        recipe = recipe.replace(precision=run.facts["precision"])
        run.update(status="running", error=None)
    else:
        shutil.rmtree(path, ignore_errors=True)  # killed before it began
        facts = {
            **facts_of(recipe, seed, data.class_names),
            "data": data.name,
            "source": data.source,
            "images": {"part": each.part},  # of the training images, validation within
        }
        run = Run.create(path, recipe, facts)
    if not run.results_path.is_file():
        try:
            train_run(run, recipe, part_of(data, each.part, seed), seed=seed)
        except KerasResNetError as error:
            run.update(status="failed", error=str(error))
            raise
    results, target = run.results, result_path(each, seed, options)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, results)
    return results


def train_all(plans: list[Plan], options: Table1Options) -> int:
    """Train what has not finished, seed by seed; the number of trainings that failed."""
    left = [
        (seed, each)
        for seed in range(options.seeds)
        for each in plans
        if not result_path(each, seed, options).is_file()
    ]
    if not left:
        return 0
    quiet_tensorflow()
    import keras

    from kerasresnet.data import load_data

    data, failed = load_data(options.data, options.data_dir), 0
    part_of(data, max(each.part for each in plans), 0)  # too many are told before any training
    for number, (seed, each) in enumerate(left, start=1):
        head = f"[{number}/{len(left)}] row {each.row}, seed {seed}"
        print(f"{head}: {each.images:,} images, {each.pflop:.3g} PFLOP", flush=True)
        try:
            results = train(each, seed, data, options)
        except UsageError:
            raise
        except KerasResNetError as error:  # a loss that became NaN: the other rows go on
            print(f"{head}: FAILED: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        minutes = results["train_seconds"] / 60
        print(f"{head}: {results['test']['accuracy']:.2%}, {minutes:.1f} min", flush=True)
        keras.backend.clear_session()
    return failed


def main() -> None:
    with exit_on_error("benchmarks/table1.py"):
        options = parse(Table1Options, None, prog="python benchmarks/table1.py")
        plans = check(options)
        print_plan(plans, options)
        if not options.dry_run and (failed := train_all(plans, options)):
            raise KerasResNetError(f"{failed} trainings failed; the same command tries them again")


if __name__ == "__main__":
    main()
