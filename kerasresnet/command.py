"""What every command shares: how its flags are read."""

from __future__ import annotations

import contextlib
import io

import tyro

from kerasresnet.errors import UsageError
from kerasresnet.network.spec import ResNetSpec


def parse(kind: type, arguments: list[str] | None, *, prog: str, default=None):
    """tyro over `kind`, with specs written as text and mistakes told as `UsageError`."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def _spec(info: tyro.constructors.PrimitiveTypeInfo):
        if info.type is not ResNetSpec:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="SPEC",
            instance_from_str=lambda texts: ResNetSpec.from_text(texts[0]),
            is_instance=lambda value: isinstance(value, ResNetSpec),
            str_from_instance=lambda spec: [spec.to_text()],
        )

    settings = {} if default is None else {"default": default}
    boxes = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxes):
            return tyro.cli(kind, args=arguments, prog=prog, registry=registry, **settings)
    except SystemExit as stop:
        if stop.code:
            raise UsageError(f"{_first_sentence(boxes.getvalue())} (see {prog} --help)") from None
        raise


def _first_sentence(boxed: str) -> str:
    """What tyro says in the first part of its first box, as one line."""
    lines = [line.strip("│╭╮╰╯ ").strip() for line in boxed.splitlines()[1:]]
    rule = next((i for i, line in enumerate(lines) if set(line) <= {"─"}), len(lines))
    return " ".join(lines[:rule]).removeprefix("Error parsing training: ")
