"""The pictures of a network and of a run, drawn from result files and specs only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasresnet.disk import read_json
from kerasresnet.errors import UsageError
from kerasresnet.network.spec import NAMED_SPECS, ResNetSpec
from kerasresnet.recipe import Recipe
from kerasresnet.report.architecture import draw_architecture
from kerasresnet.report.block import draw_blocks
from kerasresnet.report.canvas import Form
from kerasresnet.report.confusion import draw_confusion
from kerasresnet.report.curves import draw_curves
from kerasresnet.run import Run


def draw_network(
    spec: ResNetSpec, folder: Path, *, title: str = "", form: Form = "png"
) -> list[Path]:
    """Write architecture and block of `spec` into `folder`; `title` is what it is called."""
    return [
        draw_architecture(spec, folder / f"architecture.{form}", title=title),
        draw_blocks(spec, folder / f"block.{form}", title=title),
    ]


def draw_run(results: Mapping[str, Any], folder: Path, *, form: Form = "png") -> list[Path]:
    """Write into `folder` what can be drawn of `results`, the content of a results.json.

    The network always; the curves where an epoch is done, the confusions where the test is.
    """
    recipe, title, test = results["recipe"], results["name"], results.get("test")
    spec = ResNetSpec.from_text(recipe["spec"])
    paths = draw_network(spec, folder, title=title, form=form)
    if results["epochs"]:
        curves = {name: recipe[name] for name in ("keep", "label_smoothing")}
        path = folder / f"curves.{form}"
        more = {"test": test, "classes": spec.classes}
        paths.append(draw_curves(results["epochs"], path, title=title, **curves, **more))
    if test:
        path = folder / f"confusion.{form}"
        paths.append(draw_confusion(test["confusion"], results["labels"], path, title=title))
    return paths


def draw(what: str, folder: Path | None, *, form: Form = "png") -> list[Path]:
    """Draw a run, its results.json, a recipe or a spec into `folder`; a run's default is itself.

    Raises `UsageError` where `what` is none of them, or no folder is given for what is no run.
    """
    path, results = Path(what), None
    if path.suffix == ".json":
        results = read_results(path)
    elif path.is_dir() or (len(path.parts) > 1 and path.suffix != ".toml"):
        results, folder = results_so_far(Run.open(path)), folder or path
    elif path.suffix == ".toml" or what in Recipe.names():
        recipe = Recipe.load(what)
        spec, title = recipe.spec, recipe.name
    else:
        spec, title = ResNetSpec.from_text(what), what if what in NAMED_SPECS else ""
    if folder is None:
        raise UsageError(f"say where the pictures of {what} go: --pictures DIR")
    folder.mkdir(parents=True, exist_ok=True)
    if results:
        return draw_run(results, folder, form=form)
    return draw_network(spec, folder, title=title, form=form)


def read_results(path: Path) -> dict[str, Any]:
    """A results.json. Raises `UsageError` where `path` holds something else."""
    results = read_json(path)
    if not isinstance(results, dict) or not {"name", "recipe", "epochs"} <= results.keys():
        raise UsageError(f"{path} holds no results; give the results.json of a run")
    return results


def results_so_far(run: Run) -> dict[str, Any]:
    """The results of a run, or what there is of them before its end."""
    if run.results_path.is_file():
        return run.results
    recipe = run.recipe
    written = recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()}
    return {"name": recipe.name, **run.facts, "recipe": written, "epochs": run.metrics}
