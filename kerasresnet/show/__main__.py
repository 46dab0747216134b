"""A network layer by layer, and what it costs, before anything is built.

python -m kerasresnet.show BB2x64-BN2x100
python -m kerasresnet.show quick
python -m kerasresnet.show table1-06 --max-params 1M --picture row6.png
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from kerasresnet.command import exit_on_error, parse
from kerasresnet.errors import UsageError
from kerasresnet.network.budget import (
    DEFAULT_LIMIT,
    convolutions,
    cost_by_part,
    count_macs,
    count_parameters,
)
from kerasresnet.network.spec import NAMED_SPECS, Block, ResNetSpec
from kerasresnet.recipe import Recipe

FORMS = (".png", ".svg")


@dataclass(frozen=True)
class ShowOptions:
    """A network layer by layer: what each puts out, its parameters and its MACs."""

    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SPEC|RECIPE")]
    """A spec (BB2x64-BN2x100, table1-06), a named recipe (quick) or a recipe's TOML file."""
    max_params: int = DEFAULT_LIMIT
    """The limit that the whole is compared with."""
    picture: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw it as well, into a .png or .svg file."""


def spec_of(text: str) -> ResNetSpec:
    """The network that `text` names. Raises `UsageError` where it names none."""
    if text in NAMED_SPECS or not (text in Recipe.names() or Path(text).suffix == ".toml"):
        return ResNetSpec.from_text(text)
    return Recipe.load(text).spec


def rows_of(spec: ResNetSpec) -> Iterator[tuple[str, str, str, int, int]]:
    """Name, what it is, what it puts out, parameters, MACs: of every layer, first to last."""
    costs = cost_by_part(spec)
    stem = spec.whiten or spec.stem_kernel
    kind = "whitening" if spec.whiten else "conv"
    what = f"{kind} {stem}×{stem}{_stride(spec.stem_stride)}"
    yield "stem", what, _shape(spec.stem_size, spec.stem), *costs["stem"]
    for number, stage in enumerate(spec.stages):
        for index in range(stage.blocks):
            block = stage.rest if index else stage.first
            yield from _rows_of_block(block, f"stack{number} block{index}")
    pool = "global mean" if spec.pool == "global" else f"mean of {spec.pool}×{spec.pool}"
    yield "head", f"{pool}, dense", str(spec.classes), *costs["head"]


def _rows_of_block(block: Block, name: str) -> Iterator[tuple[str, str, str, int, int]]:
    layers = convolutions(block)
    main = len(layers) - block.projects
    # A bottleneck's stride is that of its second convolution, a basic block's of its first.
    goes_down = 0 if block.pools or block.kind == "BB" else 1
    for number, layer in enumerate(layers):
        shortcut = number == main
        what = f"conv {layer.kernel}×{layer.kernel}"
        if number == goes_down or shortcut:
            pooled = f", max-pool {block.stride}×{block.stride}" if block.pools else ""
            what = f"max-pool, {what}" if shortcut and pooled else what + pooled
            what += "" if block.pools else _stride(block.stride)
        part = f"{name} {block.kind}" + (" shortcut" if shortcut else f" conv{number + 1}")
        size = block.out_size if shortcut or (block.pools and number == 0) else layer.size
        yield part, what, _shape(size, layer.out_channels), layer.parameters, layer.macs


def _shape(size: tuple[int, int], channels: int) -> str:
    return f"{size[0]}×{size[1]}×{channels}"


def _stride(stride: int) -> str:
    return f" stride {stride}" if stride > 1 else ""


def print_network(spec: ResNetSpec, limit: int) -> None:
    """The table, and under it the whole against the limit."""
    table = Table(box=None, pad_edge=False)
    for column in ("layer", "what it is", "puts out", "parameters", "MACs"):
        table.add_column(column, justify="left" if column[0] in "lw" else "right", overflow="fold")
    for name, what, shape, parameters, macs in rows_of(spec):
        table.add_row(name, what, shape, f"{parameters:,}", f"{macs:,}")
    table.add_section()
    count = count_parameters(spec)
    table.add_row("all", "", "", f"{count:,}", f"{count_macs(spec):,}", style="bold")
    Console().print(table)
    verdict = f"{count - limit:,} over" if count > limit else f"{count / limit:.1%} of"
    print(f"{spec}: {verdict} the limit of {limit:,} parameters")


def show(options: ShowOptions) -> None:
    """Print the table of a network, and draw it where that is asked for."""
    spec = spec_of(options.network)
    picture = options.picture
    if picture and (picture.suffix not in FORMS or not picture.absolute().parent.is_dir()):
        raise UsageError(
            f"--picture is a .png or .svg file in a folder that exists, received {picture}"
        )
    print_network(spec, options.max_params)
    if picture:
        from kerasresnet.report.architecture import draw_architecture

        title = "" if options.network == str(spec) else options.network
        print(draw_architecture(spec, picture, title=title))


def main() -> None:
    with exit_on_error("kerasresnet.show"):
        show(parse(ShowOptions, None, prog="python -m kerasresnet.show"))


if __name__ == "__main__":
    main()
