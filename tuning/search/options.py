"""The flags of `python -m tuning.search`, and the settings and space that they mean."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from kerasresnet.command import parse
from kerasresnet.data.options import DataOptions
from kerasresnet.disk import read_toml
from kerasresnet.errors import UsageError
from kerasresnet.fit.plan import fitted
from kerasresnet.recipe import Recipe
from tuning.search.project import Settings
from tuning.search.space.choices import family, narrow
from tuning.search.space.space import Space

SEARCHED = "searched"  # --train-best without a recipe: the winner's own


@dataclass(frozen=True)
class SearchOptions(DataOptions):
    """Search networks and recipes under a hard parameter limit; the same command again goes on."""

    search_dir: Path | None = None
    """Where the search is kept (default: searches/<data>-<max-params>)."""
    tuner: Literal["hyperband", "random", "bayesian"] = "hyperband"
    """How choices are made and trials are stopped early."""
    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE")] = None
    """The base: everything that is not searched (default: what suits the data, such as quick)."""
    max_params: int | None = None
    """The most trainable parameters of a network (default: the recipe's, 5,000,000)."""
    max_macs: int | None = None
    """The most multiply-accumulates an image; none by default."""
    max_epoch_seconds: float | None = None
    """The most seconds that an epoch of training may take, by a few steps timed before a trial
    begins; what is slower is drawn again. None by default."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Fix or narrow a dimension: --set blocks=1,2 --set sgd.learning_rate=0.05..0.2; --list-space
    shows them all."""
    space: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The same in a TOML file: blocks = [1, 2]."""
    list_space: bool = False
    """Print every dimension and its values, and stop."""
    max_epochs: int = 9
    """Epochs of a trial that goes to the end; every schedule is made for that many."""
    factor: int = 3
    """hyperband: a rung has this many times the epochs of the rung below it, and fewer trials."""
    iterations: int = 1
    """hyperband: times that all brackets are run."""
    max_trials: int = 20
    """random, bayesian: trials to train."""
    train_images: int | None = None
    """Train trials on so many images only (default: all that validation leaves)."""
    val_images: int | None = None
    """Training images that trials are scored on, the same for all (default: a tenth); the test set
    is not touched."""
    seed: int = 0
    """Seed of the choices, the split, and of every trial's own seed."""
    workers: int = 1
    """Trials that train side by side on this machine, each in a process of its own."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="auto|ADDRESS")] = None
    """Train on the nodes of a Ray cluster: the one at this address; auto: the one that runs on this
    machine, or one of this machine alone. All nodes must see --search-dir."""
    cpus_per_trial: float = 1.0
    """--ray: CPUs that a trial takes of a node."""
    gpus_per_trial: float = 0.0
    """--ray: GPUs that a trial takes of a node."""
    overwrite: bool = False
    """Delete the search that is there and start anew."""
    plain: bool = False
    """A line an event instead of a live picture."""
    report: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write leaderboard, plots and best.toml of a search, and stop."""
    report_to: Path | None = None
    """Where the report goes (default: report/ inside the search)."""
    train_best: Annotated[str | None, tyro.conf.arg(metavar="[RECIPE]")] = None
    """When the search is done, train the winner in full, on all of the data, and export it to
    saved_models/: by its own recipe, or the one named here."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages in the logs."""

    def resolve(self) -> tuple[Path, Settings, Space]:
        """The directory, settings and space. Raises `UsageError` for what makes no sense."""
        request = self.request()
        base = Recipe.load(self.recipe or request.default_recipe())
        request = request.for_input(base.spec.input_shape)
        classes, channels, images = request.peek(self.data_dir)
        if images is None and self.val_images is None:
            raise UsageError(
                f"{request.data} is not here yet, and nothing says how many images it has: give "
                "--val-images, the training images that trials are scored on"
            )
        base = fitted(base, (*request.shown_size, channels), classes)
        limit = base.max_params if self.max_params is None else self.max_params
        own = {
            "base": base.name,
            "max_params": limit,
            "val_images": round(images / 10) if self.val_images is None else self.val_images,
            **request.to_facts(),
        }
        typed = {name: getattr(self, name) for name in Settings.model_fields if name not in own}
        settings = Settings(**own, **typed)
        # A trial keeps its last weights: its score is that of the epoch it stops at.
        base = base.replace(max_params=limit, epochs=self.max_epochs, keep="last")
        space = Space(base, narrow(self._changes(), base), self.max_macs)
        return self.search_dir or Path("searches") / f"{request.slug}-{limit}", settings, space

    def _changes(self) -> dict[str, Any]:
        """What --space and --set say; a flag wins over the file, also over members of a family."""
        flags: dict[str, Any] = {}
        for text in self.set:
            name, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"--set takes NAME=VALUES such as blocks=1,2, received {text!r}")
            flags[name.strip()] = value
        written = read_space(self.space) if self.space else {}
        return {name: value for name, value in written.items() if family(name) not in flags} | flags


def read_space(path: Path) -> dict[str, Any]:
    """The dimensions of a TOML file; `[sgd] learning_rate = …` is `sgd.learning_rate`.

    Raises `UsageError` where the file cannot be read or is not TOML.
    """
    flat: dict[str, Any] = {}
    for name, value in read_toml(path, "space").items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def parse_search_options(arguments: list[str] | None = None) -> SearchOptions:
    """Read the command line. Raises `UsageError`, or exits as tyro does for --help."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for flag in ("--train-best", "--train_best"):
        if flag in arguments:
            after = arguments.index(flag) + 1
            if after == len(arguments) or arguments[after].startswith("-"):
                arguments.insert(after, SEARCHED)
    options = parse(SearchOptions, arguments, prog="python -m tuning.search")
    if options.workers < 1:
        raise UsageError(f"--workers is 1 or more, received {options.workers}")
    _check_engine(options)
    if options.train_best not in (None, SEARCHED):
        Recipe.load(options.train_best)  # a mistake shows before the search, not after it
    return options


def _check_engine(options: SearchOptions) -> None:
    """Raise `UsageError` where the flags do not say where trials run."""
    asked = options.cpus_per_trial, options.gpus_per_trial
    if options.ray is None and asked != (1.0, 0.0):
        raise UsageError(
            "--cpus-per-trial and --gpus-per-trial are for --ray; on this machine --workers says "
            "how many trials train side by side"
        )
    if options.ray is not None and options.workers != 1:
        raise UsageError(
            "--workers is for one machine; with --ray, --cpus-per-trial and --gpus-per-trial "
            "say how many trials fit onto a node"
        )
    if min(asked) < 0 or not any(asked) or not all(map(math.isfinite, asked)):
        raise UsageError(
            f"a trial takes CPUs or GPUs: --cpus-per-trial and --gpus-per-trial are 0 or more and "
            f"not both 0, received {asked[0]:g} and {asked[1]:g}"
        )
