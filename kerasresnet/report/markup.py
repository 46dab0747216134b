"""HTML of one file: escaped as it is made, with style, script and pictures inside.

What is no `Markup` yet is escaped by all of these: names of classes, files and runs are whatever
their owners call them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup, escape

# Nothing may be fetched, whatever stands in the page; a browser holds it to that.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_DOCUMENT = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
<script>{script}</script>
</head>
<body>
{body}
</body>
</html>
""")
LARGEST = 96  # pixels: the side of a small picture


def document(title: str, body: Iterable[Markup], *, evaluates: bool = False) -> str:
    """The whole file: `body` with our style and plotly's script, which `evaluates` code of its own
    where it draws with WebGL."""
    from plotly.offline import get_plotlyjs

    style = resources.files("kerasresnet.report").joinpath("page.css").read_text("utf-8")
    page = _DOCUMENT.format(
        policy=_POLICY + " 'unsafe-eval'" * evaluates,
        title=title,
        style=Markup(style),
        script=Markup(get_plotlyjs()),
        body=Markup("\n").join(body),
    )
    return str(page)


def section(heading: str, *parts: Markup) -> Markup:
    inside = Markup("\n").join(parts)
    return Markup("<section>\n<h2>{}</h2>\n{}\n</section>").format(heading, inside)


def paragraph(text: str | Markup, *, note: bool = False) -> Markup:
    return Markup('<p class="note">{}</p>' if note else "<p>{}</p>").format(text)


def code(text: str) -> Markup:
    return Markup("<code>{}</code>").format(text)


def tiles(values: Mapping[str, str]) -> Markup:
    """What is worth knowing first: large, each with its name under it."""
    one = Markup('<div class="tile"><b>{}</b><span>{}</span></div>')
    inside = Markup("").join(one.format(value, name) for name, value in values.items())
    return Markup('<div class="tiles">{}</div>').format(inside)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: int = 0) -> Markup:
    """A table whose last `numbers` columns are numbers."""
    first = len(head) - numbers if numbers else None

    def line(cells: Sequence[Any], tag: str) -> Markup:
        plain, number = (
            Markup(f"<{tag}>{{}}</{tag}>"),
            Markup(f'<{tag} class="number">{{}}</{tag}>'),
        )
        each = (
            (plain if first is None or i < first else number).format(cell)
            for i, cell in enumerate(cells)
        )
        return Markup("<tr>{}</tr>\n").format(Markup("").join(each))

    inside = Markup("").join(line(row, "td") for row in rows)
    text = Markup('<div class="scroll"><table><thead>{}</thead><tbody>\n{}</tbody></table></div>')
    return text.format(line(head, "th"), inside)


def pairs(rows: Iterable[tuple[Any, Any]]) -> Markup:
    """A table of names and what they are."""
    one = Markup("<tr><td>{}</td><td>{}</td></tr>\n")
    inside = Markup("").join(one.format(*row) for row in rows)
    return Markup('<div class="scroll"><table class="pairs">{}</table></div>').format(inside)


def cell(markdown: str) -> str | Markup:
    """A cell of a Markdown table for one of ours, on one line."""
    text = unmarked(markdown).replace(" ", "\N{NO-BREAK SPACE}")
    return code(text) if markdown.startswith("`") else text


def unmarked(markdown: str) -> str:
    """The text of a line of Markdown, without its marks for code and bold."""
    return markdown.replace("**", "").replace("`", "")


def details(summary: str, inside: Markup) -> Markup:
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, inside)


def charts(*drawn: Markup) -> Markup:
    """Charts side by side where there is room."""
    each = Markup("").join(Markup("<div>{}</div>").format(chart) for chart in drawn)
    return Markup('<div class="charts">{}</div>').format(each)


def drawing(svg: bytes, says: str) -> Markup:
    """A picture drawn on white, as SVG."""
    image = _image(svg, "svg+xml", says, ' class="drawing"')
    return Markup('<div class="scroll">{}</div>').format(image)


def png(content: bytes, says: str) -> Markup:
    """The bytes of a PNG file as a picture."""
    return _image(content, "png", says, "")


def pictures(images: Iterable[np.ndarray], captions: Iterable[Sequence[str]]) -> Markup:
    """Small pictures, uint8 [H, W, 3 or 1], each with a first and a second line under it."""
    one = Markup("<figure>{}<figcaption><b>{}</b><br>{}</figcaption></figure>")
    each = [
        one.format(photo(image, ", ".join(lines)), *lines)
        for image, lines in zip(images, captions, strict=True)
    ]
    return Markup('<div class="pictures">{}</div>').format(Markup("").join(each))


def grid(images: np.ndarray, names: Sequence[str]) -> Markup:
    """Pictures uint8 [rows, columns, H, W, C] in rows; each row's name is what its pictures say."""
    rows, columns = images.shape[:2]
    cells = [photo(images[i, j], names[i]) for i in range(rows) for j in range(columns)]
    style = f"grid-template-columns: repeat({columns}, 1fr)"
    return Markup('<div class="rows" style="{}">{}</div>').format(style, Markup("").join(cells))


def photo(image: np.ndarray, says: str) -> Markup:
    """Pixels uint8 [H, W, 3 or 1] as a PNG in the page, no side over `LARGEST`."""
    from PIL import Image

    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return png(file.getvalue(), says)


def _image(content: bytes, kind: str, says: str, attributes: str) -> Markup:
    source = base64.b64encode(content).decode()
    return Markup('<img{} alt="{}" title="{}" src="data:image/{};base64,{}">').format(
        Markup(attributes), says, says, kind, source
    )


def chart(figure: Mapping[str, Any], name: str) -> Markup:
    """A plotly figure, as a div called `name`, which `document` brings the script for."""
    from plotly.io import to_html

    inside = to_html(
        dict(figure),
        config={"displayModeBar": False, "responsive": True},
        include_plotlyjs=False,
        full_html=False,
        default_height=f"{figure['layout'].get('height', 340)}px",
        div_id=name,
        validate=False,
    )
    return Markup(inside)


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def plain(text: str) -> str:
    """`text` for a chart, which would take <b> or <a> in it for a tag."""
    return str(escape(text))
