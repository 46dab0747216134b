"""Tables and pictures of what was measured, made of result files only.

    python -m kerasresnet.report --into README.md --into docs/table1.md
    python -m kerasresnet.report runs/20260131-101500-quick
    python -m kerasresnet.report runs/20260131-101500-quick --html page.html
    python -m kerasresnet.report BB2x64-BN2x100 --pictures pictures --form svg

writes the tables of the result files in `results/` and `benchmarks/` between their markers, draws a
run or its results.json, puts a run on one page, draws a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from kerasresnet.command import exit_on_error, parse, waiting_for
from kerasresnet.disk import write_text
from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.report.canvas import Form
from kerasresnet.report.table1 import table1
from kerasresnet.report.tables import (
    begins,
    faults_table,
    formats_table,
    put_between_markers,
    results_table,
    serving_table,
    speed_table,
)
from kerasresnet.run import Run


@dataclass(frozen=True)
class ReportOptions:
    """Draw a run or a network; without one, write the tables of all measured results."""

    results: Path = Path("results")
    """The folder with the results.json files of runs."""
    augment_speed: Path = Path("benchmarks/augment.json")
    """What benchmarks/augment.py wrote."""
    serving_speed: Path = Path("benchmarks/serving.json")
    """What benchmarks/serving.py wrote."""
    formats: Path = Path("benchmarks/formats.json")
    """What benchmarks/formats.py wrote."""
    faults: Path = Path("benchmarks/faults.json")
    """What benchmarks/faults.py counted."""
    into: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A Markdown file with markers for some of the tables (default: print all); give it again for
    another file."""
    draw: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[RUN|SPEC]")] = None
    """What to draw: a run, finished or not, a results.json, a recipe (quick, mine.toml) or a spec
    (BB2x64-BN2x100)."""
    pictures: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the pictures go (default: into the run)."""
    form: Form = "png"
    """Pictures as PNG or as SVG."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the page of the run there, and no pictures (default: both into the run)."""


def all_tables(options: ReportOptions) -> dict[str, Callable[[], str]]:
    """What makes each table, by the name of its markers."""
    return {
        "results": partial(results_table, options.results),
        "augment-speed": partial(speed_table, options.augment_speed),
        "serving-speed": partial(serving_table, options.serving_speed),
        "formats": partial(formats_table, options.formats),
        "faults": partial(faults_table, options.faults),
        "table1": partial(table1, options.results),
    }


def fill_in(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """`text` with every table that it has markers for. Raises `UsageError` where it has none."""
    marked = [name for name in tables if begins(name) in text]
    if not marked:
        raise UsageError(
            f"the file has no place for a table: give it the lines {begins('results')} and "
            f"{begins('results').replace('begin', 'end')}; tables are {', '.join(tables)}"
        )
    for name in marked:
        text = put_between_markers(text, name, tables[name]())
    return text


def draw_all(options: ReportOptions) -> list[Path]:
    """The pictures of what is asked for, and the page of a run; their paths."""
    from kerasresnet.report.pictures import draw, read_results

    path, is_run = Path(options.draw), (Path(options.draw) / "run.json").is_file()
    if options.html and not is_run and path.suffix != ".json":
        raise UsageError(f"--html is the page of a RUN or of its results.json, received {path}")
    drawn = []
    if options.pictures or not options.html:
        drawn = draw(options.draw, options.pictures, form=options.form)
    if not is_run and not options.html:
        return drawn
    from kerasresnet.report.page import page_of, write_page

    page = options.html or (options.pictures or path) / "report.html"
    if not is_run:
        missing = "they are kept beside a results.json, in the run"
        write_text(page, page_of(read_results(path), missing=missing))
        return [*drawn, page]
    run = Run.open(path)
    if run.results_path.is_file() and not run.predictions_path.is_file():
        with waiting_for("TensorFlow to start, for what the network says of the test images"):
            quiet_tensorflow()
    return [*drawn, write_page(run, page)]


def run_report(options: ReportOptions) -> None:
    tables = all_tables(options)
    if options.draw or options.pictures or options.html:
        if options.into or not options.draw:
            raise UsageError("pictures are those of a RUN or a SPEC, and tables go --into a file")
        print(*draw_all(options), sep="\n")
    elif not options.into:
        print("\n\n".join(make() for make in tables.values()))
    for path in options.into:
        write_text(path, fill_in(path.read_text(encoding="utf-8"), tables))


def main() -> None:
    with exit_on_error("kerasresnet.report"):
        run_report(parse(ReportOptions, None, prog="python -m kerasresnet.report"))


if __name__ == "__main__":
    main()
