"""Whether a network is right as often as it says: calibration, from its probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kerasresnet.errors import UsageError

BINS = 15  # Guo et al. 2017, arXiv 1706.04599


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
            "calibration takes probabilities [N, classes], N labels and 1 or more bins. Received: "
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
