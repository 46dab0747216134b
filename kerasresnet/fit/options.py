"""The flags of `python -m kerasresnet.fit`: a recipe's own fields, and where things come from.

The recipe is the one definition: a field added there is a flag here, with its help and its checks.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from kerasresnet.command import parse
from kerasresnet.data.options import DataOptions
from kerasresnet.data.request import DataRequest
from kerasresnet.errors import UsageError
from kerasresnet.fit.log import Log, check_log
from kerasresnet.fit.strategy import Strategy, check_strategy
from kerasresnet.recipe import Recipe

_NAMED = ", ".join(name for name in Recipe.names() if not name.startswith("table1-"))
_START = (
    f"Where the training options start from: a named recipe ({_NAMED}, table1-01 … table1-12) or a "
    "TOML file (default: what suits the data)."
)


@dataclass(frozen=True)
class FitOptions(DataOptions):
    """Train a residual network, evaluate it once on the test set, export it for serving."""

    training: tyro.conf.OmitArgPrefixes[Recipe]
    recipe: Annotated[str, tyro.conf.arg(metavar="NAME|FILE", help=_START)] = "quick"
    seed: int = 0
    """Seed of weights, split, order and augmentation."""
    run_dir: Path | None = None
    """Where the run goes (default: runs/<time>-<name>)."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Go on with an interrupted run; everything else comes from the run."""
    export_dir: Path = Path("saved_models")
    """Where the exported model goes: <export-dir>/<name>/<version>/."""
    log: Log = "none"
    """Log the training to Weights & Biases or to MLflow as well; each needs its extra."""
    export: bool = True
    """Whether to export the trained model."""
    strategy: Strategy = "single"
    """mirrored: all GPUs of this machine share every batch (tf.distribute.MirroredStrategy)."""
    dry_run: bool = False
    """Check everything and print the plan with its cost; train nothing, leave nothing."""
    force: bool = False
    """Export a network that learnt nothing as well."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""

    @property
    def export_to(self) -> Path | None:
        """Where exports go; None where there is to be none."""
        return self.export_dir if self.export else None


def parse_fit_options(arguments: list[str] | None = None) -> FitOptions:
    """Read the command line. Raises `UsageError`, or exits as tyro does for --help."""
    arguments = sys.argv[1:] if arguments is None else arguments
    check_strategy(_value_of("--strategy", arguments) or "single")
    request = DataRequest.parse(_value_of("--data", arguments) or "cifar10")
    recipe = _value_of("--recipe", arguments) or request.default_recipe()
    default = FitOptions(training=Recipe.load(recipe), recipe=recipe)
    options = parse(FitOptions, arguments, default=default, prog="python -m kerasresnet.fit")
    if options.resume:
        _refuse_with_resume(arguments)
    check_seed(options.seed)
    check_log(options.log)
    options.request()  # refuses what makes no sense before anything else is done
    named = named_after(options.training, default.training, request)
    return replace(options, training=named)


def named_after(trained: Recipe, start: Recipe, request: DataRequest) -> Recipe:
    """`trained`, which began as `start`, with a name that tells it from other trainings.

    A name that was given stays. One of our recipes on other images than CIFAR-10 or its own is
    called after these as well.
    """
    if trained.name != start.name:
        return trained
    name = _name_of(start.name, trained, start)
    ours = start.name in Recipe.names() and start == Recipe.named(start.name)
    if ours and request.data not in (start.name, "cifar10"):
        name = f"{name}-{request.slug}"
    return trained.replace(name=_short(name))


def check_seed(seed: int) -> None:
    """Raises `UsageError` for a seed that random numbers cannot start from."""
    if not 0 <= seed < 2**31:
        raise UsageError(f"a seed is a number from 0 to {2**31 - 1}, received {seed}")


def _name_of(name: str, trained: Recipe, recipe: Recipe) -> str:
    """What a training by a changed recipe is called, so that one name is always one network.

    Exports of one name are versions of one served model: after the recipe, the network's own spec
    where it is another than the recipe's, "custom" where something else is.
    """
    if trained.spec != recipe.spec:
        return f"{name}-{trained.spec}"
    return name if trained == recipe else f"{name}-custom"


def _short(name: str, most: int = 80) -> str:
    """`name` itself, or its beginning and a hash of it all."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """The value given to `flag`, needed before the flags can be parsed at all."""
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
    return None


def _refuse_with_resume(arguments: list[str]) -> None:
    """Raises `UsageError` where a flag beside --resume would change what the run was asked for."""
    allowed = ("--resume", "--data-dir", "--verbose", "--no-verbose", "--export", "--no-export")
    allowed += ("--force", "--no-force", "--log", "--strategy")
    typed = [a.split("=")[0].replace("_", "-") for a in arguments if a.startswith("--")]
    changing = [flag for flag in typed if flag not in (*allowed, "--export-dir")]
    if changing:
        raise UsageError(
            f"--resume takes its settings from the run; leave out {', '.join(changing)}"
        )
