"""All commands under one name: kerasresnet fit, kerasresnet search, …

Each is also `python -m` and a module, which is imported when it is asked for and not before.
"""

from __future__ import annotations

import importlib
import sys

from kerasresnet import __version__
from kerasresnet.errors import UsageError, exit_on_error, unknown

COMMANDS = {
    "fit": ("kerasresnet.fit", "train a network by a recipe, test it, export it"),
    "evaluate": ("kerasresnet.evaluate", "measure a run or an export on the test images"),
    "export": ("kerasresnet.export", "export a run for TF Serving, LiteRT, ONNX, OpenVINO"),
    "predict": ("kerasresnet.predict", "classify images, here or by a server"),
    "report": ("kerasresnet.report", "draw a run or a network; tables of what was measured"),
    "compare": ("kerasresnet.compare", "runs side by side: what differs, and what came of it"),
    "show": ("kerasresnet.show", "a network layer by layer: sizes, parameters, MACs, the limit"),
    "list": ("kerasresnet.list", "recipes, specs, data sets, optimizers, augmentations by name"),
    "data": ("kerasresnet.data", "write a data set as a folder of PNG files"),
    "augment": ("kerasresnet.augment", "draw what the augmentations do"),
    "search": ("tuning.search", "look for the best network within a parameter limit"),
    "study": ("tuning.study", "vary one thing, all else equal"),
}


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<10}{what}" for name, (_, what) in COMMANDS.items()]
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
    module, _ = COMMANDS[name]
    sys.argv = [f"python -m {module}", *rest]
    importlib.import_module(f"{module}.__main__").main()


def main() -> None:
    with exit_on_error("kerasresnet"):
        run_command(sys.argv[1:])


if __name__ == "__main__":
    main()
