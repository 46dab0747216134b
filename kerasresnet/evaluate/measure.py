"""Metrics of predictions: accuracy, loss, confusions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Logits = Callable[[np.ndarray], Any]  # uint8 images [N, H, W, C] → logits [N, classes]


def measure(
    logits_of: Logits,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    batch_size: int = 500,
) -> dict[str, Any]:
    """Accuracy, cross-entropy, per-class accuracy, confusion matrix and top confusions.

    `logits_of` maps uint8 images [N, H, W, C] to logits or log-probabilities [N, classes];
    `labels` are integers [N], `class_names` those of the classes.
    """
    return metrics_of(logits_on(logits_of, images, batch_size=batch_size), labels, class_names)


def logits_on(logits_of: Logits, images: np.ndarray, *, batch_size: int = 500) -> np.ndarray:
    """Logits [N, classes] of all images, batch by batch."""
    batches = range(0, len(images), batch_size)
    return np.concatenate([np.asarray(logits_of(images[i : i + batch_size])) for i in batches])


def metrics_of(
    logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """What `measure` says, of logits [N, classes] that are there already."""
    from scipy.special import log_softmax
    from sklearn.metrics import confusion_matrix

    predicted = logits.argmax(axis=1)
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    confusion = confusion_matrix(labels, predicted, labels=range(len(class_names)))
    wrong = [
        {"true": class_names[t], "predicted": class_names[p], "count": int(confusion[t, p])}
        for t, p in zip(*np.nonzero(confusion), strict=True)
        if t != p
    ]
    return {
        "images": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "per_class": {
            name: float(confusion[i, i] / max(1, confusion[i].sum()))
            for i, name in enumerate(class_names)
        },
        "top_confusions": sorted(wrong, key=lambda w: -w["count"])[:5],
        "confusion": confusion.tolist(),
    }


def with_tta(logits_of: Logits, tta: str | None) -> Logits:
    """`logits_of`, with `tta` "flip" averaged over every image and its mirror image."""
    if tta is None:
        return logits_of

    def averaged(images: np.ndarray) -> np.ndarray:
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        return (np.asarray(logits_of(images)) + np.asarray(logits_of(mirrored))) / 2

    return averaged


def measure_with_tta(
    logits_of: Logits,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    **settings: int,
) -> dict[str, Any]:
    """What `measure` says, and under "tta" accuracy and loss of the mean over mirror images."""
    return measure_keeping_logits(logits_of, images, labels, class_names, **settings)[0]


def measure_keeping_logits(
    logits_of: Logits,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    **settings: int,
) -> tuple[dict[str, Any], np.ndarray]:
    """What `measure_with_tta` says, and the logits [N, classes] of the plain network."""
    flipped = measure(with_tta(logits_of, "flip"), images, labels, class_names, **settings)
    averaged = {name: flipped[name] for name in ("accuracy", "loss")}
    logits = logits_on(logits_of, images, **settings)
    return {**metrics_of(logits, labels, class_names), "tta": {"flip": averaged}}, logits


def best_guess(chance: float, images: int) -> float:
    """The accuracy on so many images that one who always names one class hardly exceeds.

    `chance` is the share of that class. By three standard errors: once in 700 times.
    """
    margin = 3 * math.sqrt(chance * (1 - chance) / images)
    # Of very few images not even all right ones would be enough.
    return chance if chance + margin >= 1 else chance + margin


def why_dead(tested: Mapping[str, Any]) -> str | None:
    """What is wrong with a network that learnt nothing, by what `measure` says; None if it did."""
    confusion, images = np.asarray(tested["confusion"]), tested["images"]
    chance = float(confusion.sum(axis=1).max() / images)
    if tested["accuracy"] <= best_guess(chance, images):
        return (
            f"it is right in {tested['accuracy']:.2%} of {images:,} test images, no more than "
            f"what always says the same ({chance:.2%})"
        )
    guess = math.log(len(confusion))
    if not tested["loss"] <= 10 * guess:  # written so that NaN is beyond reason too
        return f"its loss of {tested['loss']:.4g} is beyond reason: a guess has {guess:.2f}"
    return None
