"""The flags of `python -m tuning.study`, and the study that they mean."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kerasresnet.command import parse
from kerasresnet.data.options import DataOptions
from kerasresnet.errors import UsageError
from kerasresnet.fit.plan import fitted
from kerasresnet.recipe import Recipe
from tuning.study.factors import FACTORS, TUNED_IN, read_settings
from tuning.study.runs import Study

_ABOUT = f"""Train a base and, one factor at a time, variations of it; the same command goes on.

Every value of every --vary is the base with that factor changed and nothing else: no grid. The
base itself is trained once, for all factors. The factors are the fields of a recipe, of the network
and of its stacks: {", ".join(FACTORS)}.

channels=64:128:232:268,64:128:192:256 gives a value for every stack; conv_kernel=3,5 one for all.
augment=crop+flip,crop:pad=2+randaugment:n=2:m=9,none joins steps with + and their settings with
colons. cycle_momentum=0.85:0.95 likewise; none where a field may be empty.

An optimizer needs a learning rate of its own: optimizer=adam brings learning rate and momentum of
the named recipe that uses it ({", ".join(f"{k}: {v}" for k, v in TUNED_IN.items())}), unless it is
the base's, which keeps its own; optimizer=adam@0.0005 says the rate. Likewise schedule=one_cycle
moves after every batch, and a schedule that is not one_cycle leaves the momentum alone. So the
report's rows 2 to 4 are: --base table1-01 --epochs 200 --vary optimizer=adagrad,rmsprop,adam."""


@dataclass(frozen=True)
class StudyOptions(DataOptions):
    base: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE")] = None
    """The recipe that is varied (default: what suits the data, such as quick)."""
    vary: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FACTOR=VALUES")
    ] = ()
    """A factor and its values, such as optimizer=sgd,adam; give it again for another factor."""
    seeds: int = 3
    """Trainings of every setting, with the seeds 0, 1, 2, …"""
    epochs: int | None = None
    """Epochs of the base and of all its variations (default: the base's)."""
    widen: bool = False
    """Scale the channels of every other network to the base's parameters, for a comparison at
    equal size; without it, a value costs what it costs."""
    max_params: int | None = None
    """The most trainable parameters of a network (default: the base's, 5,000,000)."""
    dir: Path | None = None
    """Where the study is kept (default: studies/<data>-<base>-<factors>)."""
    plain: bool = False
    """A line a run instead of a live picture."""
    report: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write the tables and the plot of a study from its result files, and stop."""

    def resolve(self) -> tuple[Study, list[str]]:
        """The study, and one sentence for each value that makes no sense.

        Raises `UsageError` where there is nothing to study.
        """
        if not self.vary:
            raise UsageError("a study varies something: add --vary optimizer=sgd,adam, say")
        if self.seeds < 1:
            raise UsageError(f"--seeds is 1 or more, received {self.seeds}")
        request = self.request()
        base = Recipe.load(self.base or request.default_recipe())
        request = request.for_input(base.spec.input_shape)
        classes, channels, _ = request.peek(self.data_dir)
        base = fitted(base, (*request.shown_size, channels), classes)
        changes = {"epochs": self.epochs, "max_params": self.max_params}
        changed = base.replace(**{k: v for k, v in changes.items() if v is not None})
        settings, mistakes = read_settings(changed, self.vary, widen=self.widen)
        factors = dict.fromkeys(s.factor for s in settings if s.factor)
        path = self.dir or Path("studies") / "-".join([request.slug, base.name, *factors])
        study = Study(path, base.name, self.seeds, tuple(settings), **request.to_facts())
        return study, mistakes


StudyOptions.__doc__ = _ABOUT


def parse_study_options(arguments: list[str] | None = None) -> StudyOptions:
    """Read the command line. Raises `UsageError`, or exits as tyro does for --help."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(StudyOptions, arguments, prog="python -m tuning.study")
    if options.report and (options.vary or options.base):
        raise UsageError("--report reads a study's files: leave out --base and --vary")
    return options
