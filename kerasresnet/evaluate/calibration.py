"""Whether a network is right as often as it says, and the temperature that makes it so.

Guo et al., "On Calibration of Modern Neural Networks" (2017, arXiv 1706.04599).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasresnet.errors import UsageError

BINS = 15
FEWEST = 200  # images: fewer say too little of how sure a network may be
COLDEST, HOTTEST = 0.05, 20.0  # far beyond what is asked for: 0.49 after label smoothing of 0.2


class Reliability(NamedTuple):
    """Predictions by their confidence, in bins of equal width; NaN in a bin without any."""

    edges: np.ndarray  # [bins + 1], 0 … 1
    counts: np.ndarray  # [bins]
    confidence: np.ndarray  # [bins], mean of the bin
    accuracy: np.ndarray  # [bins], share of the bin that is right

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence|, weighted by the counts."""
        gaps = self.counts * np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps) / self.counts.sum())


def reliability(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> Reliability:
    """The bins of a reliability diagram: bin m holds confidences in ((m - 1) / bins, m / bins].

    `probabilities` are [N, classes] in 0…1, the confidence is the highest of each row; `labels` are
    integers [N]. Raises `UsageError` where there are none, or the two do not belong together.
    """
    if probabilities.ndim != 2 or not len(labels) or len(probabilities) != len(labels) or bins < 1:
        raise UsageError(
            "calibration takes probabilities [N, classes], N labels and 1 or more bins, received "
            f"{list(probabilities.shape)}, {len(labels)} labels, {bins} bins"
        )
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(which, each, bins) / counts for each in (confidence, right)]
    return Reliability(edges, counts, *means)


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = BINS
) -> float:
    """How far confidence and accuracy are apart, 0…1, in `bins` bins of equal width.

    0 where, of all predictions made with 80 % confidence, 80 % are right, and so for every
    confidence (Guo et al. 2017, arXiv 1706.04599). `probabilities` are [N, classes], `labels`
    integers [N]. Raises `UsageError` where the two do not belong together.
    """
    return reliability(probabilities, labels, bins=bins).error


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which softmax(logits / T) has the least cross-entropy, 0.05 … 20.

    One number for all classes, so no answer changes, only how sure it is (section 4.2). `logits`
    are [N, classes], `labels` integers [N], of images that the network was not trained on.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, rows = logits.astype(np.float64), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def too_few(images: dict[str, int]) -> str | None:
    """Why a run with these "train", "val" and "test" images fits no temperature; None: it does."""
    if images["val"] >= FEWEST:
        return None
    return (
        f"a temperature takes {FEWEST} validation images, and this run had {images['val']} "
        "(val_fraction says how many)"
    )


def calibrate(
    val_logits: np.ndarray, val_labels: np.ndarray, test_logits: np.ndarray, test_labels: np.ndarray
) -> dict[str, float]:
    """The temperature that validation images ask for, and what it does on the test images.

    "temperature", the "images" it was fitted on, and the expected calibration error on the test
    images: "test_error" without it, "test_error_after" with it.
    """
    from scipy.special import softmax

    temperature = fit_temperature(val_logits, val_labels)
    before, after = (
        expected_calibration_error(softmax(test_logits / divisor, axis=1), test_labels)
        for divisor in (1.0, temperature)
    )
    errors = {"test_error": before, "test_error_after": after}
    return {"temperature": temperature, "images": len(val_labels), **errors}
