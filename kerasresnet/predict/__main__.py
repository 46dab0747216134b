"""Classify images with an export, a run, or a running server.

python -m kerasresnet.predict saved_models/quick photo.jpg photos/
python -m kerasresnet.predict http://localhost:8501/v1/models/quick photos/ --json
python -m kerasresnet.predict grpc://localhost:8500/quick - < photo.jpg
find photos -name '*.png' | python -m kerasresnet.predict runs/20260131-101500-quick --files-from -
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from kerasresnet.command import exit_on_error, parse, waiting_for
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.predict.classify import classify
from kerasresnet.predict.images import Source, find_images
from kerasresnet.predict.interface import Target
from kerasresnet.predict.target import open_target


@dataclass(frozen=True)
class PredictOptions:
    """Classify images with an export, a run, a .keras file, or a running TF Serving.

    Exit code 1 says that at least one image could not be classified; the others are.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH_OR_URL")]
    """An export (saved_models/quick, its newest version, or saved_models/quick/1), a run directory,
    a .keras file, http://host:8501/v1/models/NAME or grpc://host:8500/NAME."""
    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE")] = ()
    """Files, folders (searched through), or - for one image on standard input."""
    files_from: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A list of more files, one a line or NUL after each; - for standard input."""
    top: int = 3
    """How many classes to name for each image."""
    batch_size: int = 32
    """Images that go to the model together; a REST server's answers to more than 48 take 40 ms
    longer."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The classes' names, one a line (default: the model's own; a server tells only the name of
    each image's most probable class)."""
    json: bool = False
    """Print one JSON document instead of a table."""
    timeout: float = 30.0
    """Seconds that a server may take for one batch."""
    trust: bool = False
    """Load a stranger's file although it could reach files of yours, or take all memory."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: PredictOptions) -> None:
    """Raise `UsageError` for what can be refused before anything is loaded."""
    for flag, value in (("--top", options.top), ("--batch-size", options.batch_size)):
        if value < 1:
            raise UsageError(f"{flag} is 1 or more, received {value}")
    if not 0 < options.timeout < 1e6:
        raise UsageError(f"--timeout is a number of seconds above 0, received {options.timeout}")


def classify_with_progress(
    target: Target, sources: list[Source], options: PredictOptions
) -> list[dict[str, Any]]:
    """`classify`, with a bar on stderr where that is a terminal and there are several batches."""
    from rich.console import Console
    from rich.progress import Progress

    class_names = None
    if options.labels:
        try:
            class_names = options.labels.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the labels in {options.labels}: {error}") from None
    hidden = len(sources) <= options.batch_size or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=hidden) as progress:
        task = progress.add_task("Classifying", total=len(sources))
        return classify(
            target,
            sources,
            batch_size=options.batch_size,
            top=options.top,
            class_names=class_names,
            advance=lambda images: progress.advance(task, images),
        )


def print_table(results: list[dict[str, Any]]) -> None:
    """What was classified as a table on stdout; what was not, a line each on stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "label", "probability", "then")
    table.columns[0].overflow = "fold"
    table.columns[2].justify = "right"
    for result in results:
        if "error" in result:
            print(f"{result['file']}: {result['error']}", file=sys.stderr)
            continue
        then = ", ".join(f"{_name(c)} {c['probability']:.1%}" for c in result["top"][1:])
        cells = (result["file"], _name(result), f"{result['probability']:.1%}", then)
        table.add_row(*map(Text, cells))
    # A file or a pipe has no width: no name is cut there.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    if table.row_count:
        console.print(table)


def _name(entry: dict[str, Any]) -> str:
    return f"class {entry['class_id']}" if entry["label"] is None else entry["label"]


def main() -> None:
    with exit_on_error("kerasresnet.predict"):
        options = parse(PredictOptions, None, prog="python -m kerasresnet.predict")
        check_options(options)
        sources = find_images(options.images, options.files_from)
        with waiting_for(options.model):
            target = open_target(
                options.model,
                timeout=options.timeout,
                verbose=options.verbose,
                trust=options.trust,
            )
        results = classify_with_progress(target, sources, options)
        failed = sum("error" in result for result in results)
        if options.json:
            counts = {"classified": len(results) - failed, "failed": failed}
            print(json.dumps({"model": target.name, **counts, "images": results}, indent=1))
        else:
            print_table(results)
        if failed:
            raise KerasResNetError(f"{failed} of {len(results)} images could not be classified")


if __name__ == "__main__":
    main()
