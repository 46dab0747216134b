"""A table that its reader sorts by any column, in style alone: no script, and it prints.

Every row carries its place in the order of each column, and the column that was clicked says which
of these places counts. A second click turns the order round.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from kerasresnet.report import markup

_NUMBER = re.compile(r"(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)( ?[%M])?( ± .*| \([+-][\d.]+\))?")
_EMPTY = ("", "–", "none")
_HEAD = Markup(
    '<th><label><input type="radio" name="{0}" class="up{1}">{2}</label>'
    '<label><input type="radio" name="{0}" class="down{1}">{2}</label></th>'
)
_ORDER = Markup(
    ".sortable:has(.up{0}:checked) td {{ order: var(--{0}, 1000000) }}\n"
    ".sortable:has(.down{0}:checked) td {{ order: calc(-1 * var(--{0}, -1000000)) }}\n"
)


def sortable_table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """The rows of a Markdown table, as they come until a column is clicked.

    `name` is another for each table of a page. Numbers are sorted as numbers, with the units that
    we write; what is empty is last in both directions.
    """
    columns = [_places([markup.unmarked(row[i]) for row in rows]) for i in range(len(head))]
    lines = []
    for i, row in enumerate(rows):
        places = ";".join(f"--{at}:{column[i]}" for at, column in enumerate(columns) if i in column)
        cells = Markup("").join(Markup("<td>{}</td>").format(markup.cell(text)) for text in row)
        lines.append(Markup('<tr style="{}">{}</tr>\n').format(places, cells))
    titles = Markup("").join(_HEAD.format(name, at, title) for at, title in enumerate(head))
    text = Markup(
        "<style>\n{}</style>\n"
        '<div class="scroll"><table class="sortable" style="--columns: {}">'
        "<thead><tr>{}</tr></thead><tbody>\n{}</tbody></table></div>"
    )
    orders = Markup("").join(_ORDER.format(at) for at in range(len(head)))
    return text.format(orders, len(head), titles, Markup("").join(lines))


def _places(column: Sequence[str]) -> dict[int, int]:
    """The place of each row that is not empty when this column sorts; equal ones share theirs."""
    filled = {i: text for i, text in enumerate(column) if text not in _EMPTY}
    matches = {i: _NUMBER.fullmatch(text) for i, text in filled.items()}
    keys: dict[int, float | str] = {}
    for i, text in filled.items():
        keys[i] = float(matches[i][1].replace(",", "")) if all(matches.values()) else text.lower()
    order = {key: place for place, key in enumerate(sorted(set(keys.values())))}
    return {i: order[key] for i, key in keys.items()}
