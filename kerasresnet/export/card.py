"""The model card: what an export is, how it was trained, what it reaches and how that was measured.

After Mitchell et al., "Model Cards for Model Reporting" (arXiv 1810.03993), as far as files know.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasresnet.data.catalog import licence_of
from kerasresnet.disk import write_json, write_text
from kerasresnet.evaluate.calibration import too_few
from kerasresnet.load.runtimes import CARD, CardFacts
from kerasresnet.network.budget import count_macs, count_parameters
from kerasresnet.run import Run, versions


def model_card(
    run: Run | None,
    class_names: Sequence[str],
    settings: dict[str, Any],
    accuracy: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What is known of an export with these `settings`, of a run or (None) of a bare model.

    `accuracy` is what this very export reached on the test set, where that was measured.
    """
    card: dict[str, Any] = {
        "exported": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "labels": list(class_names),
        "export": settings,
        "versions": versions(),
    }
    if accuracy:
        card["test_accuracy_of_this_export"] = accuracy
    if run is None:
        return card
    facts, recipe = run.facts, run.recipe
    card |= {
        "model_sha256": run.model_checksum(),
        "name": facts.get("name", recipe.name),
        "network": recipe.spec.to_text(),
        "input": "x".join(map(str, recipe.spec.input_shape)) + " uint8",
        "recipe": recipe.model_dump(mode="json") | {"spec": recipe.spec.to_text()},
        "run": {name: facts.get(name) for name in ("seed", "device", "precision", "versions")},
        "data": facts.get("data"),
        "data_settings": facts.get("data_settings"),
        "data_licence": licence_of(facts.get("data")),
        "parameters": count_parameters(recipe.spec),
        "macs": count_macs(recipe.spec),
    }
    if run.results_path.is_file():
        results = run.results
        card["accuracy"] = {
            "test": results["test"]["accuracy"],
            "test_with_mirror_image": results["test"]
            .get("tta", {})
            .get("flip", {})
            .get("accuracy"),
            "images": results["images"],
            "how": "the run's kept model in float32 on the whole test set, read once after "
            "training; the epoch was chosen "
            + ("on the validation slice" if recipe.keep == "best" else "by nothing: the last"),
            "epochs": len(results["epochs"]),
            "train_seconds": results["train_seconds"],
        }
        if "temperature" in settings:
            card["calibration"] = results["calibration"]
    return card


def write_card(card: dict[str, Any], folder: Path) -> None:
    """Write `model_card.json` and `model_card.md` into `folder`."""
    CardFacts(**card)  # what is read back is what was written
    folder.mkdir(exist_ok=True)
    write_json(folder / CARD, card)
    write_text(folder / "model_card.md", card_text(card))


def card_text(card: dict[str, Any]) -> str:
    """The card as Markdown, for people."""
    lines = [f"# {card.get('name', 'model')}", ""]
    if "network" in card:
        lines += [
            f"A residual network `{card['network']}` for images of {card['input']}: "
            f"{card['parameters']:,} parameters, {card['macs']:,} multiply-accumulates an image.",
            "",
        ]
    if "accuracy" in card:
        found = card["accuracy"]
        mirrored = found.get("test_with_mirror_image")
        mirrored = f"; {mirrored:.2%} with the mean over mirror images" if mirrored else ""
        share = card["recipe"].get("epoch_share", 1)
        images = f"{found['images']['train']:,} images" + (
            f", {share:g} in each" if share < 1 else ""
        )
        lines += [
            f"- **Accuracy:** {found['test']:.2%} of {found['images']['test']:,} test images of "
            f"{card['data']} ({found['how']}){mirrored}.",
            f"- **Training:** {found['epochs']} epochs on {images}, "
            f"{found['train_seconds'] / 60:.1f} min, seed {card['run']['seed']}, "
            f"{card['run']['device'] or 'device unknown'}.",
        ]
    if "test_accuracy_of_this_export" in card:
        found = card["test_accuracy_of_this_export"]
        lines += [
            f"- **This export:** {found['export']:.2%}, the Keras model beside it "
            f"{found['keras']:.2%}, both on {found['images']:,} test images."
        ]
    if "data" in card:
        lines += [f"- **Data:** {card['data']}. {card['data_licence']}"]
    if card["export"].get("tta") == "flip":
        lines += [
            "- **Test-time augmentation:** every answer is the mean over the image and its mirror "
            "image, for twice the multiply-accumulates."
        ]
    sure = "its probabilities are not calibrated"
    if "accuracy" in card and (why := too_few(card["accuracy"]["images"])):
        sure += f": {why}"
    if "calibration" in card:
        found = card["calibration"]
        lines += [
            f"- **Calibration:** logits divided by {found['temperature']:.3f}, which fits "
            f"{found['images']:,} validation images (arXiv 1706.04599): the expected calibration "
            f"error on the test images is {found['test_error_after']:.1%}, without it "
            f"{found['test_error']:.1%}."
        ]
        sure = "its probabilities are calibrated for images like those it was trained on"
    settings = ", ".join(f"{name} {value}" for name, value in card["export"].items())
    lines += [
        f"- **Classes:** {', '.join(card['labels'])}.",
        f"- **Export:** {settings}; {card['exported']}.",
        f"- **Limits:** it names one of its classes for any image whatever; {sure}.",
    ]
    return "\n".join(lines) + "\n"
