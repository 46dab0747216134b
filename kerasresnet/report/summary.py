"""A run as a notebook shows it: what it is, how far it got, its curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.report import markup
from kerasresnet.report.markup import percent
from kerasresnet.report.pictures import results_so_far
from kerasresnet.run import Run


def summary_of(run: Run) -> Markup:
    """A table of the run, finished or not, and its curves where they are drawn; some 100 kB."""
    results = results_so_far(run)
    parts = [Markup("<h3>{}</h3>").format(results["name"]), markup.pairs(_rows(run, results))]
    curves = run.path / "curves.png"
    if curves.is_file():
        parts.append(markup.png(curves.read_bytes(), "loss, accuracy and learning rate by epoch"))
    return Markup("<div>\n{}\n</div>").format(Markup("\n").join(parts))


def _rows(run: Run, results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    spec = ResNetSpec.from_text(results["recipe"]["spec"])
    epochs, test = results["epochs"], results.get("test")
    yield "network", markup.code(str(spec))
    yield "parameters", f"{count_parameters(spec):,}"
    yield "MACs an image", f"{count_macs(spec) / 1e6:,.1f} M"
    yield "data", f"{results.get('data', 'unknown images')}, seed {results.get('seed', '?')}"
    share = results["recipe"].get("epoch_share", 1)
    rests = f", {share:g} of the images in each" if share < 1 else ""
    yield "epochs", f"{len(epochs)} of {results['recipe']['epochs']}, {results['status']}{rests}"
    scores = [row["val_accuracy"] for row in epochs if "val_accuracy" in row]
    if scores:
        yield "best on validation", percent(max(scores))
    if test:
        yield "test accuracy", Markup("<b>{}</b>").format(percent(test["accuracy"]))
        for name, averaged in (test.get("tta") or {}).items():
            yield f"with {name}", percent(averaged["accuracy"])
        yield "test loss", f"{test['loss']:.3f}"
    if error := results.get("error"):
        yield "error", error
    yield "directory", markup.code(str(run.path))
