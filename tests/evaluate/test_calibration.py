"""Calibration: numbers made by hand, and what is refused."""

import numpy as np
import pytest

from kerasresnet.errors import UsageError
from kerasresnet.evaluate.calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def two_classes(confidences):
    """Probabilities of class 0, which is always the most probable one, and of class 1."""
    first = np.array(confidences, float)
    return np.stack([first, 1 - first], axis=1)


def test_the_error_is_that_of_hand_made_bins():
    # Five bins. (0.4, 0.6]: 0.55 and 0.6, one of two right; (0.6, 0.8]: 0.75, right; (0.8, 1]: 0.9
    # three times, two right.
    probabilities = two_classes([0.55, 0.6, 0.75, 0.9, 0.9, 0.9])
    labels = np.array([0, 1, 0, 0, 0, 1])
    bins = reliability(probabilities, labels, bins=5)
    assert bins.counts.tolist() == [0, 0, 2, 1, 3]
    assert bins.accuracy[2:] == pytest.approx([0.5, 1, 2 / 3])
    assert bins.confidence[2:] == pytest.approx([0.575, 0.75, 0.9])
    assert np.isnan(bins.accuracy[:2]).all()
    by_hand = 2 / 6 * 0.075 + 1 / 6 * 0.25 + 3 / 6 * (0.9 - 2 / 3)
    assert expected_calibration_error(probabilities, labels, bins=5) == pytest.approx(by_hand)


def test_what_is_right_as_often_as_it_says_has_no_error():
    probabilities = two_classes([0.8] * 5 + [1.0] * 3)
    labels = np.array([0, 0, 0, 0, 1, 0, 0, 0])
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0)
    assert expected_calibration_error(probabilities, 1 - labels) == pytest.approx(
        (5 * 0.6 + 3 * 1) / 8
    )


def test_every_confidence_is_in_one_bin_its_upper_edge_included():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 500)
    bins = reliability(probabilities, rng.integers(0, 7, 500))
    assert len(bins.counts) == 15 and bins.counts.sum() == 500
    edges = two_classes([0.6, 0.8, 1.0])  # of five bins
    assert reliability(edges, np.zeros(3, int), bins=5).counts.tolist() == [0, 0, 1, 1, 1]
    assert reliability(np.array([[1 + 1e-9, 0.0]]), np.array([0])).counts[-1] == 1


@pytest.mark.parametrize(
    ("shape", "labels", "bins"), [((3,), 3, 15), ((0, 2), 0, 15), ((3, 2), 2, 15), ((3, 2), 3, 0)]
)
def test_what_does_not_belong_together_is_refused(shape, labels, bins):
    with pytest.raises(UsageError, match=r"calibration takes probabilities \[N, classes\]"):
        expected_calibration_error(np.ones(shape), np.zeros(labels, int), bins=bins)


def drawn_at(temperature, images=20_000):
    """Logits, and labels as often as softmax(logits / temperature) says."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (images, 5))
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_of_which_the_labels_were_drawn(temperature):
    assert fit_temperature(*drawn_at(temperature)) == pytest.approx(temperature, rel=0.05)


def test_a_network_that_is_less_sure_than_right_is_mended():
    logits, labels = drawn_at(0.5)
    found = calibrate(logits[:2000], labels[:2000], logits[2000:], labels[2000:])
    assert found["temperature"] == pytest.approx(0.5, rel=0.1)
    assert found["images"] == 2000
    assert found["test_error"] > 0.05
    assert found["test_error_after"] < 0.015


def test_a_network_that_is_never_wrong_gets_a_temperature_all_the_same():
    logits = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    assert fit_temperature(logits, logits.argmax(axis=1)) == pytest.approx(0.05, rel=0.01)
