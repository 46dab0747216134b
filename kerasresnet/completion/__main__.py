"""What makes a shell complete kerasresnet's commands and their flags.

eval "$(kerasresnet completion bash)"
kerasresnet completion bash > ~/.local/share/bash-completion/completions/kerasresnet
kerasresnet completion zsh > ~/.zfunc/_kerasresnet
kerasresnet completion fish > ~/.config/fish/completions/kerasresnet.fish
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import tyro

from kerasresnet.__main__ import COMMANDS
from kerasresnet.command import exit_on_error, parse, registry

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class CompletionOptions:
    """Print a script that makes a shell complete kerasresnet's commands and their flags."""

    shell: Annotated[tyro.conf.Positional[Shell], tyro.conf.arg(metavar="|".join(get_args(Shell)))]
    """The shell that is to read it."""


def print_script(shell: Shell) -> None:
    """Print tyro's completion script for all commands under one name, and exit as tyro does."""
    tyro.extras.subcommand_cli_from_dict(
        {name: _named(command.options) for name, command in COMMANDS.items()},
        prog="kerasresnet",
        args=["--tyro-write-completion", shell, "-"],
        registry=registry(),
    )


def _named(text: str) -> type:
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    with exit_on_error("kerasresnet.completion"):
        print_script(parse(CompletionOptions, None, prog="python -m kerasresnet.completion").shell)


if __name__ == "__main__":
    main()
