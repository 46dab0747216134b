"""Crop, flip, cutout and erasing: what is drawn, how often, and what it does to the pixels."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasresnet.augment import geometry

SIDE, PAD = 8, 4


def numbered(batch: int) -> np.ndarray:
    """Images [batch, 8, 8, 2] whose pixels hold their own row and column, counted from 1."""
    row, column = np.mgrid[1 : SIDE + 1, 1 : SIDE + 1]
    return np.tile(np.stack([row, column], axis=-1).astype(np.uint8), (batch, 1, 1, 1))


def noise(batch: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (batch, 12, 10, 3), dtype=np.uint8)


def evenly(counts: np.ndarray) -> bool:
    """Whether chi-square says that all these were equally likely, to 5 deviations."""
    expected = counts.sum() / counts.size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    free = counts.size - 1
    return chi_square < free + 5 * np.sqrt(2 * free)


def offsets(place_numbers: np.ndarray) -> np.ndarray:
    """The crop offsets 0…2·pad along one axis of [batch, side] numbers that count from 1."""
    shift = np.where(place_numbers > 0, place_numbers - 1 - np.arange(SIDE) + PAD, -1)
    return shift.max(axis=1)


def test_each_of_the_81_crop_offsets_is_drawn_equally_often():
    cropped = geometry.random_crop(numbered(40_000), PAD, [1, 2]).numpy().astype(int)
    counts = np.zeros((9, 9), int)
    rows, columns = cropped[..., 0].max(axis=2), cropped[..., 1].max(axis=1)
    np.add.at(counts, (offsets(rows), offsets(columns)), 1)
    assert counts.min() > 0
    assert evenly(counts)


@pytest.mark.parametrize(
    ("mode", "pad"), [("constant", 3), ("reflect", 3), ("reflect", 8), ("reflect", 25)]
)
def test_a_crop_is_a_window_of_the_padded_image(mode, pad):
    images = noise()
    cropped = geometry.random_crop(images, pad, [3, 4], reflect=mode == "reflect").numpy()
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (12, 10), axis=(1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(64, -1, 12, 10, 3)
    matches = (windows == cropped[:, None]).all(axis=(2, 3, 4)).sum(axis=1)
    # Reflected twice, some windows are the same.
    assert (matches >= 1).all() and (pad > 8 or (matches == 1).all())


def test_a_crop_without_padding_changes_nothing():
    np.testing.assert_array_equal(geometry.random_crop(noise(), 0, [1, 1]).numpy(), noise())


def test_half_of_the_images_are_mirrored_and_none_is_changed_otherwise():
    images = noise(4000)
    flipped = geometry.random_flip(images, [7, 8]).numpy()
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - 0.5) < 0.04  # 5 deviations


def test_alternating_flips_show_both_views_in_any_two_successive_epochs():
    images, indices = noise(1000), np.random.default_rng(0).permutation(1000)
    for epoch in (0, 1, 6):
        views = [
            geometry.alternating_flip(images, indices, tf.constant(e)).numpy()
            for e in (epoch, epoch + 1)
        ]
        mirrored = [(view == images[:, :, ::-1]).all(axis=(1, 2, 3)) for view in views]
        assert (mirrored[0] ^ mirrored[1]).all()
        same_again = geometry.alternating_flip(images, indices, tf.constant(epoch + 2)).numpy()
        np.testing.assert_array_equal(same_again, views[0])


def test_an_alternating_flip_belongs_to_the_image_and_not_to_its_place_in_the_batch():
    images, indices = noise(100), np.arange(100) * 37
    flipped = geometry.alternating_flip(images, indices, 3).numpy()
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(
        geometry.alternating_flip(images[order], indices[order], 3).numpy(), flipped[order]
    )


@pytest.mark.parametrize("step", [1, 2, 3, 10, 128, 1000])
def test_the_coin_of_an_index_is_fair_along_any_stride_and_without_runs(step):
    coin = geometry.coin_of(np.arange(20_000) * step).numpy()
    assert set(coin) == {0, 1}
    assert abs(coin.mean() - 0.5) < 0.02
    assert abs((coin[1:] == coin[:-1]).mean() - 0.5) < 0.02


def test_cutout_zeroes_one_square_cut_at_the_edges_and_nothing_else():
    images = noise(2000)
    cut = geometry.random_cutout(images, 4, [9, 9]).numpy()
    gone = (cut == 0).all(axis=-1)
    np.testing.assert_array_equal(np.where(gone[..., None], 0, images), cut)
    rows, columns = gone.any(axis=2), gone.any(axis=1)
    np.testing.assert_array_equal(gone, rows[:, :, None] & columns[:, None, :])
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    assert heights.max() == widths.max() == 4
    assert heights.min() == widths.min() == 2  # centred on the first row or column, half is cut
    centres = np.zeros((12, 10), int)
    full = (heights == 4) & (widths == 4)
    np.add.at(centres, (rows[full].argmax(axis=1) + 2, columns[full].argmax(axis=1) + 2), 1)
    assert evenly(centres[2:11, 2:9])


def erased(shape: tuple[int, int], batch: int, p: float = 1.0, seed=(4, 2)) -> np.ndarray:
    """(top, left, height, width) of the zero rectangle of each image, int [batch, 4]."""
    images = np.random.default_rng(0).integers(1, 256, (batch, *shape, 2), dtype=np.uint8)
    result = np.asarray(geometry.random_erase(images, p, seed))
    gone = (result == 0).all(axis=-1)
    np.testing.assert_array_equal(np.where(gone[..., None], 0, images), result)
    rows, columns = gone.any(axis=2), gone.any(axis=1)
    np.testing.assert_array_equal(gone, rows[:, :, None] & columns[:, None, :])
    sizes = rows.sum(axis=1), columns.sum(axis=1)
    first = rows.argmax(axis=1), columns.argmax(axis=1)
    for line, start, size in zip((rows, columns), first, sizes, strict=True):
        place = np.arange(line.shape[1])
        span = (place >= start[:, None]) & (place < (start + size)[:, None])
        np.testing.assert_array_equal(line, span)
    return np.stack([*first, *sizes], axis=1)


def sizes_by_torchvision(shape: tuple[int, int], batch: int) -> np.ndarray:
    """What the loop in torchvision's `RandomErasing` draws: (height, width), int [batch, 2]."""
    rng, drawn = np.random.default_rng(1), []
    for _ in range(batch):
        for _ in range(10):
            area = shape[0] * shape[1] * rng.uniform(0.02, 0.33)
            ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
            height, width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if height < shape[0] and width < shape[1]:
                drawn.append((height, width))
                break
        else:
            drawn.append((0, 0))
    return np.array(drawn)


@pytest.mark.parametrize("shape", [(12, 12), (6, 20)])
def test_erasing_draws_rectangles_as_torchvision_does(shape):
    many = 40_000
    counts = np.zeros((2, *shape), int)
    np.add.at(counts[0], tuple(erased(shape, many)[:, 2:].T), 1)
    np.add.at(counts[1], tuple(sizes_by_torchvision(shape, many).T), 1)
    assert (np.abs(counts[0] - counts[1]) <= 5 * np.sqrt(counts.sum(axis=0))).all()


def test_every_place_inside_the_image_is_erased_equally_often():
    places = erased((9, 8), 60_000)
    for height, width in ((2, 3), (3, 2), (4, 4)):
        of_size = places[(places[:, 2] == height) & (places[:, 3] == width)]
        counts = np.zeros((9 - height + 1, 8 - width + 1), int)
        np.add.at(counts, tuple(of_size[:, :2].T), 1)
        assert len(of_size) > 500 and evenly(counts)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_images_is_erased(p):
    happened = erased((16, 16), 10_000, p)[:, 2] > 0
    assert abs(happened.mean() - p) <= 5 * np.sqrt(p * (1 - p) / 10_000)


def test_an_image_too_small_for_any_rectangle_stays():
    assert (erased((1, 1), 100)[:, 2:] == 0).all()
    assert (erased((1, 30), 100)[:, 2:] == 0).all()


def test_an_odd_cutout_is_centred():
    gone = geometry.random_cutout(np.full((500, 9, 9, 1), 5, np.uint8), 3, [1, 5]).numpy() == 0
    assert set(gone.sum(axis=(1, 2, 3))) == {4, 6, 9}  # corner, edge, middle


@pytest.mark.parametrize(("old", "new"), [(32, 24), (32, 20), (28, 32), (9, 4), (8, 8)])
def test_resize_gives_pils_bilinear_to_a_level(old, new):
    from kerasresnet.augment.geometry import resize

    images = np.random.default_rng(0).integers(0, 256, (5, old, old, 3), dtype=np.uint8)
    expected = [np.asarray(Image.fromarray(i).resize((new, new), Image.BILINEAR)) for i in images]
    assert np.abs(np.asarray(resize(images, new)).astype(int) - np.stack(expected)).max() <= 1
