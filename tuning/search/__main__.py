"""Search networks and recipes under a hard parameter limit, with keras-tuner.

python -m tuning.search                                     5,000,000 parameters, real CIFAR-10
python -m tuning.search --max-params 300000 --set stacks=3 --set optimizer=convmuon
python -m tuning.search --workers 2 --train-best
python -m tuning.search --report searches/cifar10-5000000

The same command again goes on with an interrupted search. This process trains nothing: it says
what is trained next, in processes of its own, and shows their files.
"""

from __future__ import annotations

import random
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kerasresnet.command import exit_on_error, print_facts
from kerasresnet.data import DataRequest
from kerasresnet.disk import write_text
from kerasresnet.network.budget import count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import Recipe
from tuning.engine.job import Engine
from tuning.engine.local import Local
from tuning.search.driver import drive
from tuning.search.options import SEARCHED, SearchOptions, parse_search_options
from tuning.search.oracle.brackets import plan_brackets, plan_of
from tuning.search.project import Project, Settings
from tuning.search.space.space import Space
from tuning.search.space.start import first_choice
from tuning.search.view.leaderboard import fit_line, write_report
from tuning.search.view.live import watch
from tuning.search.view.trials import best_trial, read_trials
from tuning.search.written import check_trials, mend

COSTED = 50  # draws by which the plan states its cost


def search(options: SearchOptions) -> int:
    """Run, or go on with, the search that `options` ask for; returns the exit code."""
    path, settings, space = options.resolve()
    drawn = space.sample(random.Random(settings.seed))  # the space is not empty
    with Project.alone(path) as project:
        if options.overwrite:
            project.clear()
        project = project.begin(settings, space)
        mend(project)
        print_plan(project, options, space.network(first_choice(space) or drawn))
        code = _drive(project, options)
        return _finish(project, options) if code == 0 else code


def _drive(project: Project, options: SearchOptions) -> int:
    """Search in a thread of its own, and show meanwhile what is written."""
    engine = _engine(project, options)
    try:
        with ThreadPoolExecutor(1) as pool:
            search = pool.submit(drive, project, engine, options.data_dir, verbose=options.verbose)

            def over() -> bool:
                return search.done() and search.result() is None  # raises what it raised

            try:
                watch(project.path, over, plain=options.plain)
            finally:
                engine.stop()
    except KeyboardInterrupt:
        print(
            f"\nstopped; the same command goes on with the search in {project.path}",
            file=sys.stderr,
        )
        return 130
    return 0


def _engine(project: Project, options: SearchOptions) -> Engine:
    if options.ray is None:
        return Local(options.workers, project.path / "logs")
    from tuning.engine.cluster import Cluster

    engine = Cluster(options.ray, options.cpus_per_trial, options.gpus_per_trial)
    engine.check_folder(project.path.resolve())
    return engine


def _finish(project: Project, options: SearchOptions) -> int:
    """Write the report; train and export the winner where that was asked for."""
    best = best_trial(read_trials(project.path))
    if best is None:
        print(f"no trial finished: see {project.path / 'logs'}", file=sys.stderr)
        return 1
    folder = options.report_to or project.path / "report"
    write_report(project.path, folder)
    settings = project.settings
    request = DataRequest.from_facts(settings.data, settings.data_settings)
    print(
        f"best: {best.spec} with {best.parameters:,} parameters, validation accuracy "
        f"{best.score:.2%} after {best.epochs} epochs; report in {folder}; train it with\n"
        f"  {fit_line(request, folder / 'best.toml', options.data_dir)}"
    )
    if options.train_best:
        train_winner(project, options, folder)
    return 0


def train_winner(project: Project, options: SearchOptions, folder: Path) -> None:
    """Train the winner in full on all of the data, test it once, export it to saved_models/."""
    from kerasresnet.fit.options import FitOptions
    from kerasresnet.fit.training import fit_command
    from kerasresnet.machine import quiet_tensorflow

    winner = Recipe.from_toml(folder / "best.toml")
    chosen = project.settings.base if options.train_best == SEARCHED else options.train_best
    full = Recipe.load(options.recipe or chosen if options.train_best == SEARCHED else chosen)
    if options.train_best == SEARCHED:
        # The search's epochs are a proxy: the base says how long a training in full is.
        recipe = winner.replace(epochs=max(full.epochs, winner.epochs))
    else:
        recipe = full.replace(spec=winner.spec, max_params=winner.max_params, name=winner.name)
    write_text(folder / "full.toml", recipe.to_toml())
    quiet_tensorflow(options.verbose)
    fit_command(
        FitOptions(
            training=recipe,
            recipe=str(folder / "full.toml"),
            data=options.data,
            image_size=options.image_size,
            on_bad_image=options.on_bad_image,
            split_seed=options.split_seed,
            data_dir=options.data_dir,
            seed=options.seed,
        )
    )


def print_plan(project: Project, options: SearchOptions, start: ResNetSpec) -> None:
    """What will be searched, at what cost, and where it goes."""
    settings, space = project.settings, project.space
    base = space.base
    images = f"{settings.train_images:,}" if settings.train_images else "all other"
    rows = {
        "search": f"{settings.tuner}, {_trials(settings)}",
        "limit": f"{base.max_params:,} parameters"
        + (f", {settings.max_macs:,} MACs" if settings.max_macs else "")
        + (f", {settings.max_epoch_seconds:g} s an epoch" if settings.max_epoch_seconds else ""),
        "cost": _cost(settings, space),
        "space": _summary(space),
        "starts with": f"{start} ({count_parameters(start):,} parameters)",
        "data": f"{settings.data}: {images} training images to train on, {settings.val_images:,} "
        "to score on; the test set is not touched",
        "base recipe": f"{settings.base}: batches of {base.batch_size}, "
        f"{', '.join(base.augment) or 'no augmentation'}",
        "seed": str(settings.seed),
        "processes": f"on the Ray cluster {options.ray}, {options.cpus_per_trial:g} CPUs and "
        f"{options.gpus_per_trial:g} GPUs a trial"
        if options.ray
        else f"{options.workers} training",
        "kept in": str(project.path),
    }
    print_facts(rows)


def _trials(settings: Settings) -> str:
    if settings.tuner != "hyperband":
        return f"{settings.max_trials} trials of {settings.max_epochs} epochs"
    plan = plan_brackets(settings.max_epochs, settings.factor, settings.iterations)
    return (
        f"{plan.trials} trials in {len(plan.brackets)} brackets, {plan.epochs} epochs in all, "
        f"up to {settings.max_epochs} a trial"
    )


def _cost(settings: Settings, space: Space) -> str:
    """What the plan costs with networks drawn by chance, in PFLOP; validation comes on top."""
    if settings.train_images is None:
        return "depends on the data set: --train-images says how much of it is trained on"
    draw, epochs = random.Random(settings.seed), plan_of(settings.model_dump()).epochs
    recipes = [space.recipe(space.sample(draw)) for _ in range(COSTED)]
    each = [sum(r.pflop_by_epoch(settings.train_images)) / r.epochs * epochs for r in recipes]
    return (
        f"about {statistics.mean(each):.2g} PFLOP of training, by the mean of {COSTED} draws; "
        f"{min(each):.2g} to {max(each):.2g} were all like one of them"
    )


def _summary(space: Space) -> str:
    open_ones = [d.name for d in space.dimensions.values() if len(d.values) > 1]
    fixed = len(space.dimensions) - len(open_ones)
    return f"{len(open_ones)} open dimensions, {fixed} fixed; --list-space shows them"


def list_space(space: Space) -> None:
    """Every dimension, its values, and when it exists."""
    table = Table("dimension", "values", "where", box=None)
    for dimension in space.dimensions.values():
        shown = dimension.to_json()
        shown = shown if isinstance(shown, str) else ", ".join(map(str, shown))
        where = f"{dimension.parent} is {' or '.join(map(str, dimension.when))}"
        table.add_row(dimension.name, shown, where if dimension.parent else "")
    Console().print(table)


def main() -> None:
    with exit_on_error("tuning.search"):
        options = parse_search_options()
        if options.report:
            check_trials(Project.open(options.report))
            for path in write_report(options.report, options.report_to):
                print(path)
        elif options.list_space:
            list_space(options.resolve()[2])
        else:
            sys.exit(search(options))


if __name__ == "__main__":
    main()
