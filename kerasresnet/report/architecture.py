"""A network as a picture: stem, stacks with their blocks, head; sizes, parameters and MACs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kerasresnet.network.budget import Cost, cost_by_part, count_macs, count_parameters
from kerasresnet.network.spec import EXPANSION, ResNetSpec, StackSpec, Stage
from kerasresnet.report.canvas import COLOURS, FAINT, INK, new_page, save, tint, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches. A row is a part of the network; its columns are what it puts out, the part, its costs.
WIDTH, ROW, GAP, TOP, BOTTOM = 11.9, 0.74, 0.24, 1.2, 0.8
MAPS, PANEL, COSTS = 0.3, (2.3, 8.2), (8.4, 10.15)
BLOCKS_SHOWN, BLOCK = 6, 0.44
TITLE_WIDTH = 72  # characters


class Part(NamedTuple):
    """One row: what it is called and does, what it puts out, and what that costs."""

    name: str
    detail: str
    out: tuple[int, ...]  # height, width, channels; or the number of classes
    kind: str  # a key of COLOURS
    cost: Cost | None = None
    stage: Stage | None = None


def draw_architecture(spec: ResNetSpec, path: Path, *, title: str = "") -> Path:
    """Draw `spec` from its images down to its logits, a row for each stack, into `path`.

    `title` is what the network is called, where that is not its text form.
    """
    return save(architecture_figure(spec, title=title), path)


def architecture_figure(spec: ResNetSpec, *, title: str = "") -> Figure:
    """The picture that `draw_architecture` writes."""
    parts = parts_of(spec)
    text = wrapped(str(spec), TITLE_WIDTH)
    title = "" if title == str(spec) else wrapped(title, TITLE_WIDTH)
    top = TOP + 0.2 * text.count("\n") + 0.3 * len(title.splitlines())
    height = top + len(parts) * (ROW + GAP) - GAP + BOTTOM
    figure, axis = new_page(WIDTH, height)
    _draw_head(axis, spec, title, text, height)
    most = [max(part.cost[i] for part in parts if part.cost) for i in range(2)]
    largest = max(spec.input_shape[:2])
    for number, part in enumerate(parts):
        middle = height - top - number * (ROW + GAP) - ROW / 2
        _draw_map(axis, part, middle, largest)
        _draw_panel(axis, part, middle)
        if number:
            _arrow(axis, (PANEL[0] + 0.45, middle + ROW / 2 + GAP), (0, -GAP))
        if part.cost:
            for left, value, widest in zip(COSTS, part.cost, most, strict=True):
                _draw_bar(axis, left, middle, value, widest, COLOURS[part.kind])
    _draw_legend(axis, spec)
    return figure


def parts_of(spec: ResNetSpec) -> list[Part]:
    """Images, stem, stacks, head: the rows of the picture."""
    costs, (height, width, channels) = cost_by_part(spec), spec.input_shape
    rows = [
        Part("images", f"{_colours(channels)}, 0…255, then normalised", spec.input_shape, "stem")
    ]
    name, detail = "stem", f"{_square(spec.stem_kernel)} convolution"
    if spec.whiten:
        name, detail = "whitening stem", f"{_square(spec.whiten)} patches, frozen"
    elif spec.stem_stride > 1:
        detail += f", stride {spec.stem_stride}"
    rows.append(Part(name, detail, (*spec.stem_size, spec.stem), "stem", costs["stem"]))
    for i, (stack, stage) in enumerate(zip(spec.stacks, spec.stages, strict=True)):
        out = (*stage.first.out_size, stage.first.out_channels)
        name = f"stack {i}   {stack.to_text()}"
        rows.append(Part(name, _says(stack, stage), out, stack.block, costs[f"stack{i}"], stage))
    height, width = spec.final_size
    pool = (
        f"average over {height}×{width}"
        if spec.pool == "global"
        else f"averages over {_square(spec.pool)}"
    )
    detail = f"{pool}, then dense {spec.features:,} → {spec.classes:,}"
    return [*rows, Part("head", detail, (spec.classes,), "head", costs["head"])]


def _says(stack: StackSpec, stage: Stage) -> str:
    """`two basic blocks of 3×3, stride 2`, in the words of the picture."""
    kind = {"BB": "basic block", "BN": "bottleneck"}[stack.block] + "s" * (stack.blocks > 1)
    kernel = _square(stack.conv_kernel)
    text = f"{stack.blocks} {kind}, {kernel}"
    if EXPANSION[stack.block] > 1:
        text += f", {stack.channels:,} → {stack.out_channels:,}"
    if stage.first.pools:
        return f"{text}, max-pool {stage.first.stride}"
    return text + (f", stride {stage.first.stride}" if stage.first.stride > 1 else "")


def _colours(channels: int) -> str:
    return {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")


def _square(side: int) -> str:
    return f"{side}×{side}"


def _draw_head(axis: Axes, spec: ResNetSpec, title: str, text: str, height: float) -> None:
    axis.text(MAPS, height - 0.3, title, fontsize=15, weight="bold", color=INK, va="top")
    line = height - 0.4 - 0.3 * len(title.splitlines())
    axis.text(MAPS, line + 0.1, text, fontsize=11, color=INK, va="top", family="monospace")
    line -= 0.2 * (text.count("\n") + 1) + 0.02
    total = f"{count_parameters(spec):,} parameters, {_millions(count_macs(spec))} MACs an image"
    axis.text(MAPS, line, total, fontsize=10.5, color=INK, va="center")
    heads = {MAPS: "puts out", COSTS[0]: "parameters", COSTS[1]: "MACs"}
    for left, words in heads.items():
        axis.text(left, line - 0.36, words, fontsize=9, color=FAINT, va="center")


def _draw_map(axis: Axes, part: Part, middle: float, largest: int) -> None:
    """What a part puts out, as a box: its face as large as the map, its depth by the channels."""
    from matplotlib.patches import Polygon, Rectangle

    height, width, channels = part.out if len(part.out) == 3 else (1, 1, part.out[0])
    tall, wide = (0.07 + 0.33 * math.sqrt(side / largest) for side in (height, width))
    depth = 0.035 * math.log2(channels + 1)
    left, low = MAPS + 0.03, middle - (tall + depth / 2) / 2
    colour, style = COLOURS[part.kind], {"linewidth": 0.8, "edgecolor": "white"}
    right, high, shift = left + wide, low + tall, depth / 2
    axis.add_patch(Rectangle((left, low), wide, tall, facecolor=tint(colour, 0.55), **style))
    roof = [(left, high), (left + depth, high + shift), (right + depth, high + shift)]
    axis.add_patch(Polygon([*roof, (right, high)], facecolor=tint(colour, 0.35), **style))
    side = [(right, low), (right, high), (right + depth, high + shift)]
    axis.add_patch(Polygon([*side, (right + depth, low + shift)], facecolor=colour, **style))
    text = "×".join(f"{n:,}" for n in part.out) if len(part.out) == 3 else f"{part.out[0]:,} logits"
    axis.text(MAPS + 0.9, middle, text, fontsize=9, color=INK, va="center")


def _draw_panel(axis: Axes, part: Part, middle: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, right = PANEL
    box = FancyBboxPatch(
        (left, middle - ROW / 2),
        right - left,
        ROW,
        boxstyle="round,pad=0,rounding_size=0.09",
        facecolor=tint(COLOURS[part.kind], 0.13),
        edgecolor=tint(COLOURS[part.kind], 0.6),
        linewidth=1,
    )
    axis.add_patch(box)
    axis.text(
        left + 0.15, middle + 0.14, part.name, fontsize=10.5, weight="bold", color=INK, va="center"
    )
    axis.text(left + 0.15, middle - 0.15, part.detail, fontsize=9, color=INK, va="center")
    if part.stage:
        _draw_blocks(axis, part.stage, right - 0.2, middle)


def _draw_blocks(axis: Axes, stage: Stage, right: float, middle: float) -> None:
    """The blocks of a stack from left to right, each with its convolutions and its shortcut."""
    shown = [stage.first, *[stage.rest] * (stage.blocks - 1)]
    skipped = len(shown) > BLOCKS_SHOWN
    if skipped:
        shown = shown[: BLOCKS_SHOWN - 1]
    left = right - BLOCK * (len(shown) + skipped)
    for number, block in enumerate(shown):
        _draw_glyph(axis, left + number * BLOCK, middle - 0.13, block.kind, block.projects)
    if skipped:
        words = f"… {stage.blocks}"
        axis.text(right - BLOCK + 0.06, middle - 0.13, words, fontsize=9, color=INK, va="center")


def _draw_glyph(axis: Axes, left: float, middle: float, kind: str, projects: bool) -> None:
    """A block in small: a bar for each convolution, and its shortcut as an arc over them."""
    from matplotlib.patches import Arc, Rectangle

    colour = COLOURS[kind]
    heights = (0.26, 0.26) if kind == "BB" else (0.15, 0.26, 0.15)
    bar, space, wide = 0.075, 0.04, 0.35
    first = left + (wide - len(heights) * (bar + space) + space) / 2
    axis.plot([left, left + BLOCK], [middle, middle], color=FAINT, linewidth=1, zorder=1)
    for number, tall in enumerate(heights):
        where = (first + number * (bar + space), middle - tall / 2)
        axis.add_patch(Rectangle(where, bar, tall, facecolor=colour, edgecolor="none", zorder=2))
    arc = Arc((left + wide / 2, middle), wide, 0.6, theta1=0, theta2=180, linewidth=1.3)
    arc.set(color=INK, linestyle=(0, (2, 1)) if projects else "solid")
    axis.add_patch(arc)


def _draw_bar(axis: Axes, left: float, middle: float, value: int, widest: int, colour: str) -> None:
    from matplotlib.patches import Rectangle

    wide, tall = max(0.015, 1.45 * value / widest), 0.16
    axis.add_patch(Rectangle((left, middle - 0.22), wide, tall, facecolor=tint(colour, 0.8)))
    text = f"{value:,}" if left == COSTS[0] else _millions(value)
    axis.text(left, middle + 0.1, text, fontsize=9.5, color=INK, va="center")


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e5 else f"{count:,}"


def _arrow(axis: Axes, start: tuple[float, float], along: tuple[float, float]) -> None:
    end = (start[0] + along[0], start[1] + along[1])
    arrow = {"arrowstyle": "-|>,head_width=0.16,head_length=0.3", "color": FAINT, "linewidth": 1.2}
    axis.annotate("", end, start, arrowprops={**arrow, "shrinkA": 1, "shrinkB": 0})


def _draw_legend(axis: Axes, spec: ResNetSpec) -> None:
    """The glyphs that occur, explained."""
    kinds = [kind for kind in EXPANSION if any(stack.block == kind for stack in spec.stacks)]
    names = {"BB": "basic block: two convolutions", "BN": "bottleneck: three convolutions"}
    entries = [(kind, False, names[kind]) for kind in kinds]
    if any(stage.first.projects for stage in spec.stages):
        entries.append((kinds[0], True, "a projection in the shortcut, where the shape changes"))
    left = PANEL[0]
    for kind, projects, words in entries:
        _draw_glyph(axis, left, 0.28, kind, projects)
        axis.text(left + 0.5, 0.32, words, fontsize=8.5, color=FAINT, va="center")
        left += 0.85 + 0.068 * len(words)
