"""All commands under one name: kerasresnet fit, kerasresnet search, …

Each is also `python -m` and a module, which is imported when it is asked for and not before.
"""

from __future__ import annotations

import importlib
import sys
from typing import NamedTuple

from kerasresnet import __version__
from kerasresnet.command import exit_on_error
from kerasresnet.errors import UsageError, unknown


class Command(NamedTuple):
    """A command: its module, where the flags are that it takes, and what it does."""

    module: str
    options: str
    what: str


COMMANDS = {
    "fit": Command(
        "kerasresnet.fit",
        "kerasresnet.fit.options:FitOptions",
        "train a network by a recipe, test it, export it",
    ),
    "evaluate": Command(
        "kerasresnet.evaluate",
        "kerasresnet.evaluate.__main__:EvaluateOptions",
        "measure a run or an export on the test images",
    ),
    "export": Command(
        "kerasresnet.export",
        "kerasresnet.export.__main__:ExportOptions",
        "export a run for TF Serving, LiteRT, ONNX, OpenVINO",
    ),
    "predict": Command(
        "kerasresnet.predict",
        "kerasresnet.predict.__main__:PredictOptions",
        "classify images, here or by a server",
    ),
    "report": Command(
        "kerasresnet.report",
        "kerasresnet.report.__main__:ReportOptions",
        "draw a run or a network; tables of what was measured",
    ),
    "compare": Command(
        "kerasresnet.compare",
        "kerasresnet.compare.__main__:CompareOptions",
        "runs side by side: what differs, and what came of it",
    ),
    "find-lr": Command(
        "kerasresnet.find_lr",
        "kerasresnet.find_lr.__main__:FindOptions",
        "the learning-rate range test: which rate a recipe could take",
    ),
    "profile": Command(
        "kerasresnet.profile",
        "kerasresnet.profile.__main__:ProfileOptions",
        "how fast a network trains here, and what share of peak that is",
    ),
    "show": Command(
        "kerasresnet.show",
        "kerasresnet.show.__main__:ShowOptions",
        "a network layer by layer: sizes, parameters, MACs, the limit",
    ),
    "list": Command(
        "kerasresnet.list",
        "kerasresnet.list.__main__:ListOptions",
        "recipes, specs, data sets, optimizers, augmentations by name",
    ),
    "data": Command(
        "kerasresnet.data",
        "kerasresnet.data.__main__:PicturesOptions",
        "write a data set as a folder of PNG files",
    ),
    "augment": Command(
        "kerasresnet.augment",
        "kerasresnet.augment.__main__:SheetOptions",
        "draw what the augmentations do",
    ),
    "search": Command(
        "tuning.search",
        "tuning.search.options:SearchOptions",
        "look for the best network within a parameter limit",
    ),
    "study": Command(
        "tuning.study", "tuning.study.options:StudyOptions", "vary one thing, all else equal"
    ),
    "completion": Command(
        "kerasresnet.completion",
        "kerasresnet.completion.__main__:CompletionOptions",
        "print what makes a shell complete these commands and their flags",
    ),
}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<12}{command.what}" for name, command in COMMANDS.items()]
    first = "usage: python -m kerasresnet [--version] [--help] COMMAND …"
    return "\n".join([first, "", *lines, "", "COMMAND --help says more of each."])


def run_command(arguments: list[str]) -> None:
    """Do what `arguments` ask for. Raises `UsageError` where there is no such command."""
    name, *rest = arguments or ["--help"]
    if name in ("--help", "-h", "--version"):
        print(f"kerasresnet {__version__}" if name == "--version" else usage())
        return
    if name not in COMMANDS:
        raise UsageError(unknown("command", name, COMMANDS))
    module = COMMANDS[name].module
    sys.argv = [f"python -m {module}", *rest]
    importlib.import_module(f"{module}.__main__").main()


def main() -> None:
    with exit_on_error("kerasresnet"):
        run_command(sys.argv[1:])


if __name__ == "__main__":
    main()
