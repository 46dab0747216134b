"""What every picture shares: figures without a display, colours, titles, and how they are saved."""

from __future__ import annotations

import io
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerasresnet.disk import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]

INK, FAINT = "#222222", "#8a8f98"
BLUE, ORANGE, GREEN, RED, GREY = "#3b6ea8", "#d9782d", "#4d9150", "#b5403a", "#6c7480"
COLOURS = {"BB": BLUE, "BN": ORANGE, "stem": GREY, "head": GREEN}


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """A figure of so many inches; without pyplot, so that no display and no global is needed."""
    from matplotlib.figure import Figure

    layout = "constrained" if constrained else None
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def new_page(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure to draw on freely: data coordinates are inches, from its lower left corner."""
    figure = new_figure(width, height, constrained=False)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    return figure, axis


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """`colour` mixed with white, of which there is 1 - `share`."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def wrapped(text: str, width: int) -> str:
    """`text` in lines of `width` characters, broken behind spaces and hyphens, never in a word."""
    lines = [""]
    for piece in re.findall(r"[^ -]+[ -]*|[ -]+", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def save(figure: Figure, path: Path) -> Path:
    """Write as PNG or as SVG, as the suffix of `path` says."""
    with warnings.catch_warnings(record=True) as raised:
        write_bytes(path, encoded(figure, path.suffix.removeprefix(".")))
    signs = set()
    for warning in raised:
        if glyph := re.match(r"Glyph (\d+) .* missing from font", str(warning.message)):
            signs.add(chr(int(glyph[1])))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if signs:
        lacking = "".join(sorted(signs))
        print(f"{path}: boxes stand for {lacking}, which its font does not have", file=sys.stderr)
    return path


def encoded(figure: Figure, form: str) -> memoryview:
    """The bytes of a figure as a PNG or an SVG."""
    from matplotlib import rc_context

    picture = io.BytesIO()
    # No date and no random names: the same figures give the same file.
    with rc_context({"svg.hashsalt": "kerasresnet"}):
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(picture, format=form, dpi=120, metadata=metadata)
    return picture.getbuffer()
