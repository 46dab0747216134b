"""A network that learnt nothing is told from one that learnt little."""

import numpy as np
import pytest

from kerasresnet.evaluate.measure import (
    logits_on,
    measure,
    measure_keeping_logits,
    measure_with_tta,
    why_dead,
)


def measured(accuracy, *, images=360, classes=10, scale=3.0):
    """What is measured of a network that is right in this share of the images."""
    labels = np.arange(images) % classes
    logits = np.zeros((images, classes))
    right = np.arange(images) < accuracy * images
    logits[np.arange(images), np.where(right, labels, (labels + 1) % classes)] = scale
    return measure(
        lambda batch: logits[batch], np.arange(images), labels, list(map(str, range(classes)))
    )


@pytest.mark.parametrize("accuracy", [0.05, 0.097, 0.14])
def test_what_always_says_the_same_has_learnt_nothing(accuracy):
    assert "of 360 test images, no more than what always says the same (10.00%)" in why_dead(
        measured(accuracy)
    )


@pytest.mark.parametrize("accuracy", [0.16, 0.5, 1.0])
def test_what_is_better_has_learnt_something(accuracy):
    assert why_dead(measured(accuracy)) is None


def test_chance_is_the_share_of_the_largest_class():
    found = measured(0.5, classes=2)
    assert "what always says the same (50.00%)" in why_dead(found)


@pytest.mark.parametrize(("accuracy", "dead"), [(0.5, True), (0.75, False), (1.0, False)])
def test_a_handful_of_test_images_refuses_only_what_is_no_better_than_one_answer(accuracy, dead):
    assert bool(why_dead(measured(accuracy, images=8, classes=2))) == dead


@pytest.mark.parametrize("loss", [30.0, float("inf"), float("nan")])
def test_a_loss_beyond_reason_is_told_too(loss):
    assert "is beyond reason: a guess has 2.30" in why_dead(measured(0.9) | {"loss": loss})


def test_the_logits_that_are_kept_are_the_plain_networks():
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3)).astype(np.uint8)
    labels = np.arange(30) % 3

    def logits_of(batch):
        return batch[:, 0, :3, 0] / 255.0  # not those of the mirror image

    settings = {"labels": labels, "class_names": list("abc"), "batch_size": 7}
    metrics, logits = measure_keeping_logits(logits_of, images, **settings)
    assert np.array_equal(logits, logits_on(logits_of, images))
    assert metrics == measure_with_tta(logits_of, images, **settings)
    assert metrics["accuracy"] == (logits.argmax(axis=1) == labels).mean()
