"""The blocks of a network as a picture: convolutions, channels, and the shortcut beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kerasresnet.network.budget import Convolution, convolutions, cost_of_block
from kerasresnet.network.spec import Block, ResNetSpec
from kerasresnet.report.canvas import COLOURS, FAINT, GREY, INK, new_page, save, tint, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches: the width of a block's panel, the height of a box, and from box to box.
PANEL, BOX, STEP = 4.5, 0.8, 1.12
MAIN, SIDE, WIDE = 1.25, 3.3, 1.75  # where convolutions and shortcut stand in a panel; boxes
TOP, BOTTOM = 1.3, 1.25  # of a panel: what it is, above; what comes out, below
NAMES = {"BB": "Basic block", "BN": "Bottleneck"}
ACTIVATIONS = {"relu": "ReLU", "gelu": "GELU"}

Box = tuple[str, ...]  # lines, the first in bold


class Sight(NamedTuple):
    """One kind of block: the first of its kind, and in which stacks it stands."""

    block: Block
    stacks: tuple[int, ...]


def draw_blocks(spec: ResNetSpec, path: Path, *, title: str = "") -> Path:
    """Draw every kind of block that `spec` has into `path`, as the first of the kind is.

    Blocks are of one kind where type, projection and max-pool are the same. `title` is what the
    network is called.
    """
    sights = blocks_of(spec)
    columns = 2 if len(sights) in (2, 4) else min(3, len(sights))
    rows = [sights[i : i + columns] for i in range(0, len(sights), columns)]
    heights = [TOP + STEP * max(len(main_path(s.block)) for s in row) + BOTTOM for row in rows]
    text = wrapped(title or str(spec), 38 * columns)
    top = sum(heights)
    head = 0.5 + 0.25 * (text.count("\n") + 1)
    figure, axis = new_page(0.3 + PANEL * columns, top + head)
    axis.text(0.3, top + head - 0.3, text, fontsize=14, weight="bold", color=INK, va="top")
    for row, tall in zip(rows, heights, strict=True):
        for column, sight in enumerate(row):
            _draw_block(axis, sight, 0.3 + column * PANEL, top)
        top -= tall
    return save(figure, path)


def blocks_of(spec: ResNetSpec) -> list[Sight]:
    """The kinds of blocks in `spec`: type by type, those that project first."""
    found: dict[tuple, Sight] = {}
    for i, stage in enumerate(spec.stages):
        for block in (stage.first, stage.rest)[: stage.blocks]:
            kind = (block.kind, block.projects, block.pools)
            first, stacks = found.get(kind, Sight(block, ()))
            found[kind] = Sight(first, tuple(dict.fromkeys((*stacks, i))))
    types = list(dict.fromkeys(kind[0] for kind in found))  # as they come, identity last
    order = sorted(found, key=lambda kind: (types.index(kind[0]), not kind[1]))
    return [found[kind] for kind in order]


def main_path(block: Block) -> list[Box]:
    """The boxes beside the shortcut, from top to bottom."""
    own = convolutions(block)[: 2 if block.kind == "BB" else 3]
    strided = None if block.pools else {"BB": 0, "BN": 1}[block.kind]
    boxes = []
    for number, conv in enumerate(own):
        lines = _says(conv, block.stride if number == strided else 1)
        then = f"batch norm, {ACTIVATIONS[block.activation]}"
        after = then if conv is not own[-1] else "batch norm"
        if block.pools and number == 0:
            boxes += [lines, (_pool(block), after)]
        else:
            boxes.append((*lines, after))
    return boxes


def shortcut_path(block: Block) -> list[Box]:
    """The boxes of the shortcut; none where it passes on what came."""
    if not block.projects:
        return []
    projection = convolutions(block)[-1]
    pool = [(_pool(block),)] if block.pools else []
    stride = 1 if block.pools else block.stride
    return [*pool, (*_says(projection, stride), "batch norm")]


def _says(conv: Convolution, stride: int) -> Box:
    channels = f"{conv.in_channels:,} → {conv.out_channels:,}"
    named = f"{conv.kernel}×{conv.kernel} convolution"
    return named, channels + (f", stride {stride}" if stride > 1 else "")


def _pool(block: Block) -> str:
    return f"{block.stride}×{block.stride} max-pool"


def _draw_block(axis: Axes, sight: Sight, left: float, top: float) -> None:
    """One block; the left and upper edge of its panel are `left` and `top`."""
    block, colour, main = sight.block, COLOURS[sight.block.kind], left + MAIN
    _draw_titles(axis, sight, left, top)
    boxes, start = main_path(block), top - TOP
    join = start - STEP * len(boxes) - 0.3
    middle = {"ha": "center", "va": "center", "fontsize": 10, "color": INK}
    axis.text(main, start + 0.22, _shape(block.in_size, block.in_channels), **middle)
    above = start + 0.08
    for number, box in enumerate(boxes):
        y = start - 0.3 - STEP * number - BOX / 2
        _arrow(axis, (main, above), (main, y + BOX / 2))
        _draw_box(axis, main, y, box, colour)
        above = y - BOX / 2
    _arrow(axis, (main, above), (main, join + 0.15))
    _draw_shortcut(axis, block, left, start - 0.08, join)
    _draw_join(axis, main, join)
    _arrow(axis, (main, join - 0.15), (main, join - 0.5))
    axis.text(main + 0.3, join - 0.3, ACTIVATIONS[block.activation], **middle)
    axis.text(main, join - 0.64, _shape(block.out_size, block.out_channels), **middle)


def _draw_titles(axis: Axes, sight: Sight, left: float, top: float) -> None:
    cost, (first, *others) = cost_of_block(sight.block), sight.stacks
    shortcut = "projected" if sight.block.projects else "identity"
    where = f"as in stack {first}"
    if others:
        where += ", likewise in " + ", ".join(map(str, others[:6])) + "…" * (len(others) > 6)
    name = f"{NAMES[sight.block.kind]}, {shortcut} shortcut"
    costs = f"{cost.parameters:,} parameters, {cost.macs / 1e6:,.1f} M MACs"
    axis.text(left, top - 0.2, name, fontsize=12, weight="bold", color=INK, va="center")
    for down, text in ((0.45, where), (0.67, costs)):
        axis.text(left, top - down, text, fontsize=9.5, color=GREY, va="center")


def _draw_shortcut(axis: Axes, block: Block, left: float, start: float, join: float) -> None:
    """From the input round the convolutions to the sum, with its boxes where it projects."""
    main, side, boxes = left + MAIN, left + SIDE, shortcut_path(block)
    line = {"color": INK, "linewidth": 1.5, "zorder": 1}
    axis.plot([main, side, side, main], [start, start, join, join], **line)
    _arrow(axis, (main + 0.5, join), (main + 0.15, join), colour=INK)
    middle = (start + join) / 2
    if not boxes:
        axis.text(side - 0.12, middle, "identity", fontsize=10, color=INK, va="center", ha="right")
    for number, box in enumerate(boxes):
        _draw_box(axis, side, middle + STEP * ((len(boxes) - 1) / 2 - number), box, GREY)


def _draw_box(axis: Axes, x: float, y: float, lines: Box, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    box = FancyBboxPatch(
        (x - WIDE / 2, y - BOX / 2),
        WIDE,
        BOX,
        boxstyle="round,pad=0,rounding_size=0.08",
        facecolor=tint(colour, 0.14),
        edgecolor=tint(colour, 0.7),
        linewidth=1.2,
        zorder=2,
    )
    axis.add_patch(box)
    for number, text in enumerate(lines):
        up = 0.23 * ((len(lines) - 1) / 2 - number)
        style = {"weight": "bold", "fontsize": 10} if number == 0 else {"fontsize": 9}
        axis.text(x, y + up, text, color=INK, ha="center", va="center", zorder=3, **style)


def _draw_join(axis: Axes, x: float, y: float) -> None:
    from matplotlib.patches import Circle

    circle = Circle((x, y), 0.15, facecolor="white", edgecolor=INK, linewidth=1.4, zorder=3)
    axis.add_patch(circle)
    for dx, dy in ((0.08, 0), (0, 0.08)):
        axis.plot([x - dx, x + dx], [y - dy, y + dy], color=INK, linewidth=1.4, zorder=4)


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = FAINT
) -> None:
    style = {
        "arrowstyle": "-|>,head_width=0.18,head_length=0.35",
        "color": colour,
        "linewidth": 1.4,
    }
    axis.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _shape(size: tuple[int, int], channels: int) -> str:
    return f"{size[0]}×{size[1]}×{channels:,}"
