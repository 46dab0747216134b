"""What often is a mistake in labelled images is told, a line each, and nothing else is."""

import dataclasses

import numpy as np
import pytest

from kerasresnet.data.images import ImageData
from kerasresnet.data.oddities import oddities
from kerasresnet.data.stored import StoredImages
from kerasresnet.recipe import Recipe


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return ImageData(
        "small",
        x_train=rng.integers(0, 256, (60, 8, 8, 3), np.uint8),
        y_train=np.repeat(np.arange(3, dtype=np.int32), 20),
        x_test=rng.integers(0, 256, (30, 8, 8, 3), np.uint8),
        y_test=np.repeat(np.arange(3, dtype=np.int32), 10),
        class_names=("cat", "dog", "frog"),
        source="random numbers",
    )


def test_nothing_is_told_of_images_without_oddities(data, digits):
    assert oddities(data) == oddities(digits) == []


def test_images_tested_or_validated_on_that_are_trained_on_are_counted(data):
    data.x_test[:2], data.x_test[5] = data.x_train[7], data.x_train[8]
    assert oddities(data) == ["test images that are trained on too: 3 of 30"]
    val = {"x_val": data.x_train[18:22].copy(), "y_val": data.y_train[18:22]}
    assert oddities(dataclasses.replace(data, **val)) == [
        "test images that are trained on too: 3 of 30",
        "validation images that are trained on too: 4 of 4",
    ]


def test_one_pixel_makes_another_image(data):
    data.x_test[0] = data.x_train[0]
    data.x_test[0, 7, 7, 2] ^= 1
    assert oddities(data) == []


def test_copies_under_another_label_are_told_beside_the_copies(data):
    data.x_train[1], data.x_train[21], data.x_test[29] = (data.x_train[0],) * 3
    assert oddities(data) == [
        "test images that are trained on too: 1 of 30",
        "training images that are copies of others: 2 of 60",
        "images with another label than a copy of theirs: 2",
    ]


def test_images_of_one_colour_are_told_and_those_that_begin_so_are_not(data):
    data.x_train[3] = [10, 20, 30]
    data.x_train[4] = data.x_train[4, 0, 0]
    data.x_train[4, 7, 7, 1] ^= 1
    assert oddities(data) == ["images of one colour throughout: 1"]


def test_rare_classes_are_told_unless_weights_make_up_for_them(data):
    data.y_train[:39] = 0
    (told,) = oddities(data)
    assert told == (
        "classes with less than 10% of an even share (20) of the training images: 1 of 3, the "
        "fewest 'dog' with 1; --class-weights balanced makes up for it"
    )
    assert oddities(data, balanced=True) == []
    data.y_train[39] = 0
    assert "the fewest 'dog' with 0" in oddities(data)[0]


def test_images_that_stay_in_their_file_are_read_from_it(data, tmp_path):
    data.x_train[1] = data.x_train[0]
    np.save(tmp_path / "images.npy", data.x_train)
    stored = dataclasses.replace(data, x_train=StoredImages(tmp_path / "images.npy"))
    assert oddities(stored) == ["training images that are copies of others: 1 of 60"]


def test_a_plan_is_followed_by_what_is_odd_a_line_each(data, capsys):
    from kerasresnet.fit.plan import tell_oddities

    data.x_test[0] = data.x_train[0]
    data.x_train[1] = 0
    tell_oddities(Recipe.named("small"), data)
    assert capsys.readouterr().err.splitlines() == [
        "kerasresnet.fit: small: test images that are trained on too: 1 of 30",
        "kerasresnet.fit: small: images of one colour throughout: 1",
    ]
