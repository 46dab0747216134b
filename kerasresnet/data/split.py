"""Setting test images aside where a data set has none: the same ones for every training."""

from __future__ import annotations

import numpy as np

TEST_SHARE = 0.2


def set_test_aside(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in `labels` to train on and to test on: a fifth of each class, one at least.

    Ascending, and a function of labels and seed alone. Every class must have two images at least.
    """
    rng = np.random.default_rng(seed)
    test = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        count = max(1, round(TEST_SHARE * len(places)))
        test.append(rng.permutation(places)[:count])
    held = np.zeros(len(labels), bool)
    held[np.concatenate(test)] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
