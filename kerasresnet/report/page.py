"""A run on one page: what was trained, how it went, what it takes for what, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from kerasresnet.disk import write_text
from kerasresnet.evaluate.calibration import BINS, reliability, too_few
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.network.spec import ResNetSpec
from kerasresnet.recipe import Recipe
from kerasresnet.report import markup
from kerasresnet.report.architecture import architecture_figure
from kerasresnet.report.canvas import encoded
from kerasresnet.report.charts import (
    confusion_chart,
    metric_chart,
    rates_chart,
    reliability_chart,
)
from kerasresnet.report.markup import percent
from kerasresnet.report.pictures import results_so_far
from kerasresnet.report.predictions import (
    HITS,
    MISTAKES,
    Predictions,
    confident_mistakes,
    kept_or_computed,
    uncertain_hits,
)
from kerasresnet.report.tables import pflop_of
from kerasresnet.run import Run

Results = Mapping[str, Any]
FEW_CLASSES = 100  # with more, the table of classes is folded away


def write_page(run: Run, path: Path | None = None) -> Path:
    """Write the page of a run, finished or not, to `path` (default: report.html in the run).

    It is one file, and fetches nothing. Raises `KerasResNetError` where it cannot be written.
    """
    results, predictions, missing = results_so_far(run), None, ""
    if results.get("test"):
        predictions, missing = kept_or_computed(run, results)
    path = path or run.page_path
    write_text(path, page_of(results, predictions, missing=missing))
    return path


def page_of(results: Results, predictions: Predictions | None = None, *, missing: str = "") -> str:
    """The page of a results.json, or of what there is of one, as HTML.

    What needs `predictions` is left out without them, and the page says so, with what is `missing`.
    """
    test = results.get("test")
    body = [*_head(results, predictions), _network(results)]
    if results["epochs"]:
        body.append(_curves(results))
    if test:
        body += [_confusion(results), _classes(results)]
    if test and predictions:
        class_names = results["labels"]
        body += [
            _pictures(predictions, class_names),
            _calibration(predictions, results),
        ]
    elif test:
        words = f"Mistakes, hits and calibration are left out: {missing or 'no predictions here'}."
        body.append(markup.paragraph(words, note=True))
    body += [_recipe(results, predictions), _cost(results)]
    return markup.document(results["name"], body)


def _head(results: Results, predictions: Predictions | None) -> list[Markup]:
    test, rows = results.get("test"), results["epochs"]
    seed = f", seed {results['seed']}" if "seed" in results else ""
    said = f"{results.get('data', 'unknown images')}{seed}"
    if not test:
        planned = results["recipe"]["epochs"]
        said += f": {results.get('status', 'unfinished')} after {len(rows)} of {planned} epochs"
    tiles = {}
    if test:
        tiles["test accuracy"] = percent(test["accuracy"])
        if test.get("tta"):
            tiles["with mirror images"] = percent(test["tta"]["flip"]["accuracy"])
        tiles["test loss"] = f"{test['loss']:.3f}"
    if rows and "val_accuracy" in rows[0]:
        tiles["best on validation"] = percent(max(row["val_accuracy"] for row in rows))
    if predictions:
        error = reliability(predictions.probabilities, predictions.labels).error
        tiles["calibration error"] = percent(error)
    spec = ResNetSpec.from_text(results["recipe"]["spec"])
    tiles["parameters"] = f"{count_parameters(spec):,}"
    tiles["MACs an image"] = f"{count_macs(spec) / 1e6:.1f} M"
    if "train_seconds" in results:
        tiles["PFLOP"] = f"{pflop_of(results):.3g}"
        tiles["minutes"] = f"{results['train_seconds'] / 60:.1f}"
    title = Markup("<h1>{}</h1>").format(results["name"])
    what = Markup("{} on {}").format(markup.code(str(spec)), said)
    return [title, markup.paragraph(what), markup.tiles(tiles)]


def _network(results: Results) -> Markup:
    spec = ResNetSpec.from_text(results["recipe"]["spec"])
    drawn = bytes(encoded(architecture_figure(spec), "svg"))
    says = f"{spec}: stem, stacks and head with sizes, channels, parameters and MACs"
    return markup.section("The network", markup.drawing(drawn, says))


def _curves(results: Results) -> Markup:
    rows, recipe = results["epochs"], results["recipe"]
    classes = ResNetSpec.from_text(recipe["spec"]).classes
    smoothing = recipe["label_smoothing"]
    settings = {"keep": recipe["keep"], "label_smoothing": smoothing, "classes": classes}
    drawn = [
        markup.chart(metric_chart(rows, name, test=results.get("test"), **settings), name)
        for name in ("accuracy", "loss")
    ]
    said = {"best": "the epoch best on validation", "last": "the last epoch"}[recipe["keep"]]
    words = f"The run keeps the weights of {said}."
    if smoothing:
        words += (
            f" Label smoothing of {smoothing:g} raises the loss of training and validation, not "
            "that of the test: compare these with each other only."
        )
    rates = markup.chart(rates_chart(rows), "rates")
    return markup.section("Curves", markup.paragraph(words), markup.charts(*drawn), rates)


def _confusion(results: Results) -> Markup:
    test = results["test"]
    chart = confusion_chart(test["confusion"], results["labels"])
    words = (
        f"{percent(test['accuracy'])} of {test['images']:,} test images are right. The colours are "
        "those of the mistakes alone."
    )
    drawn = markup.chart(chart, "confusion")
    return markup.section("What is taken for what", markup.paragraph(words), drawn)


def _classes(results: Results) -> Markup:
    counts, class_names = np.asarray(results["test"]["confusion"]), results["labels"]
    right, predicted, of_class = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)

    def share(part: int, whole: int) -> str:
        return percent(part / whole) if whole else "–"

    rows = [
        (
            class_names[i],
            share(right[i], predicted[i]),
            share(right[i], of_class[i]),
            f"{of_class[i]:,}",
        )
        for i in range(len(class_names))
    ]
    table = markup.table(("class", "precision", "recall", "images"), rows, numbers=3)
    if len(class_names) > FEW_CLASSES:
        table = markup.details(f"{len(class_names):,} classes", table)
    return markup.section("Class by class", table)


def _pictures(predictions: Predictions, class_names: list[str]) -> Markup:
    probabilities, place = (
        predictions.probabilities,
        dict(zip(predictions.shown.tolist(), predictions.pictures, strict=True)),
    )
    said = probabilities.argmax(axis=1)

    def shown(chosen: np.ndarray, most: int) -> Markup:
        chosen = [i for i in chosen[:most].tolist() if i in place]
        captions = [_caption(class_names, said[i], predictions.labels[i], probabilities[i])
                    for i in chosen]  # fmt: skip
        return markup.pictures([place[i] for i in chosen], captions)

    wrong = confident_mistakes(probabilities, predictions.labels)
    hits = uncertain_hits(probabilities, predictions.labels)
    return markup.section(
        "What it is sure of, and what not",
        markup.paragraph(f"Its most confident mistakes, of {len(wrong):,}:"),
        shown(wrong, MISTAKES),
        markup.paragraph(f"The least certain of its {len(hits):,} hits:"),
        shown(hits, HITS),
    )


def _caption(
    class_names: list[str], said: int, true: int, probabilities: np.ndarray
) -> tuple[str, str]:
    """What it says of an image; then what that is, or what comes second where it is right."""
    first = f"{class_names[said]} {percent(probabilities[said], 0)}"
    if said != true:
        return first, f"is {class_names[true]}"
    second = int(np.argsort(probabilities)[-2])
    return first, f"or {class_names[second]} {percent(probabilities[second], 0)}"


def _calibration(predictions: Predictions, results: Results) -> Markup:
    bins = reliability(predictions.probabilities, predictions.labels)
    mean = float(np.nansum(bins.counts * bins.confidence) / bins.counts.sum())
    words = (
        f"Expected calibration error {percent(bins.error)} in {BINS} bins (Guo et al. 2017). Its "
        f"confidence is {percent(mean)} on the average. Where bars end over the diagonal it is "
        "right more often than it says, under it less often."
    )
    if fitted := results.get("calibration"):
        words += (
            f" Exports divide the logits by {fitted['temperature']:.3f}, fitted on validation "
            f"images, and have {percent(fitted['test_error_after'])}."
        )
    elif "images" in results and (why := too_few(results["images"])):
        words += f" Exports are as sure as that: {why}."
    if results["recipe"]["label_smoothing"]:
        words += " Label smoothing teaches a network to be less sure."
    chart = markup.chart(reliability_chart(bins), "reliability")
    return markup.section("Calibration", markup.paragraph(words), chart)


def _recipe(results: Results, predictions: Predictions | None) -> Markup:
    recipe = results["recipe"]
    usual = {name: field.default for name, field in Recipe.model_fields.items()}
    own = {name: v for name, v in recipe.items() if name not in ("name", "spec")}
    differs = [name for name in own if _text(own[name]) != _text(usual.get(name))]
    chosen, others = (
        [(markup.code(name), _text(own[name])) for name in own if (name in differs) is which]
        for which in (True, False)
    )
    parts = [
        markup.pairs(chosen),
        markup.details("All else as it is by default", markup.pairs(others)),
    ]
    if predictions is not None and len(predictions.augmented):
        rows = np.stack([predictions.originals, *predictions.augmented])
        names = ["as it is", *(f"epoch {i}" for i in range(1, len(rows)))]
        words = Markup("What {} makes of training images; on top, as they are:")
        parts.append(markup.paragraph(words.format(markup.code(" ".join(recipe["augment"])))))
        parts.append(markup.grid(rows, names))
    return markup.section("The recipe", *parts)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _cost(results: Results) -> Markup:
    rows, facts = results["epochs"], []
    if "train_seconds" in results:
        facts.append(("training", f"{results['train_seconds'] / 60:.1f} min, of all epochs"))
        facts.append(("cost", f"{pflop_of(results):.3g} PFLOP"))
        speed = 1000 * pflop_of(results) / max(1e-9, results["train_seconds"])
        facts.append(("speed", f"{speed:.2g} TFLOP/s, validation and all"))
    if rows:
        seconds = sorted(row["seconds"] for row in rows if "seconds" in row)
        if seconds:
            facts.append(("an epoch", f"{seconds[len(seconds) // 2]:.1f} s in the median"))
    if images := results.get("images"):
        facts.append(("images", ", ".join(f"{n:,} {part}" for part, n in images.items())))
    for name in ("device", "precision", "source", "started", "finished", "exported"):
        if name in results:
            facts.append((name, results[name]))
    versions = results.get("versions", {})
    if versions:
        facts.append(("versions", ", ".join(f"{name} {v}" for name, v in versions.items())))
    return markup.section("What it cost, and where", markup.pairs(facts))
