"""Pictures and tables of what was measured, drawn from result files only.

    python -m kerasresnet.report --into README.md

writes the tables of the result files in `results/` and `benchmarks/` between their markers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kerasresnet.command import parse
from kerasresnet.disk import write_text
from kerasresnet.errors import exit_on_error
from kerasresnet.report.tables import (
    formats_table,
    put_between_markers,
    results_table,
    serving_table,
    speed_table,
)


@dataclass(frozen=True)
class ReportOptions:
    """Write the tables of all measured results."""

    results: Path = Path("results")
    """The folder with the results.json files of runs."""
    augment_speed: Path = Path("benchmarks/augment.json")
    """What benchmarks/augment.py wrote."""
    serving_speed: Path = Path("benchmarks/serving.json")
    """What benchmarks/serving.py wrote."""
    formats: Path = Path("benchmarks/formats.json")
    """What benchmarks/formats.py wrote."""
    into: Path | None = None
    """A Markdown file with the markers (default: print the tables)."""


def all_tables(options: ReportOptions) -> dict[str, str]:
    """Every table of the README, by the name of its markers."""
    return {
        "results": results_table(options.results),
        "augment-speed": speed_table(options.augment_speed),
        "serving-speed": serving_table(options.serving_speed),
        "formats": formats_table(options.formats),
    }


def main() -> None:
    with exit_on_error("kerasresnet.report"):
        options = parse(ReportOptions, None, prog="python -m kerasresnet.report")
        tables = all_tables(options)
        if options.into is None:
            print("\n\n".join(tables.values()))
            return
        text = options.into.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = put_between_markers(text, name, table)
        write_text(options.into, text)


if __name__ == "__main__":
    main()
