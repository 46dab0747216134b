"""Mixup and CutMix: pixels and targets are mixed by the same shares, each image by its own."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from kerasresnet.augment.mixing import cutmix, mixup
from kerasresnet.augment.seeds import permutation

BATCH = 200


def plain(side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Image i is all of level i, and of class i."""
    levels = np.arange(BATCH, dtype=np.uint8)
    images = np.tile(levels[:, None, None, None], (1, side, side, 3))
    return images, np.eye(BATCH, dtype=np.float32)


def run(mix, alpha, seed, side=32):
    return tuple(np.asarray(each) for each in mix(*plain(side), alpha, seed))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_types_and_shapes_stay_and_labels_add_up_to_one(mix):
    images, targets = run(mix, 1.0, [1, 2])
    assert images.shape == (BATCH, 32, 32, 3) and images.dtype == np.uint8
    assert targets.shape == (BATCH, BATCH) and targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert (targets >= 0).all()


def test_mixup_blends_pixels_as_it_blends_labels():
    images, targets = run(mixup, 1.0, [3, 4], side=4)
    expected = targets @ np.arange(BATCH)
    assert np.abs(images - expected[:, None, None, None]).max() <= 0.5 + 1e-3  # rounded, not cut


def test_cutmix_labels_by_the_pixels_that_each_class_has():
    images, targets = run(cutmix, 1.0, [5, 6])
    for number in range(BATCH):
        classes, counts = np.unique(images[number, :, :, 0], return_counts=True)
        share = np.zeros(BATCH)
        share[classes] = counts / 1024
        np.testing.assert_allclose(targets[number], share, atol=1e-6)


def test_cutmix_pastes_one_box_from_the_same_place():
    row, column = np.mgrid[:32, :32]
    places = np.stack([row, column], axis=-1)[None].repeat(BATCH, axis=0)
    owner = np.arange(BATCH)[:, None, None, None] * np.ones_like(places[..., :1])
    images = np.concatenate([places, owner], axis=-1).astype(np.uint8)
    mixed, _ = (np.asarray(each) for each in cutmix(images, plain()[1], 1.0, [7, 8]))
    np.testing.assert_array_equal(mixed[..., :2], images[..., :2])
    foreign = mixed[..., 2] != images[..., 2]
    rows, columns = foreign.any(axis=2), foreign.any(axis=1)
    np.testing.assert_array_equal(foreign, rows[:, :, None] & columns[:, None, :])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_shares_are_beta_distributed(alpha):
    shares = []
    for seed in range(40):
        _, targets = run(mixup, alpha, [seed, 9], side=2)
        partner_is_itself = (targets > 0).sum(axis=1) == 1
        shares.append(np.diagonal(targets)[~partner_is_itself])
    # Shares that float32 rounds to 0 or 1 look like their own partner: leave the ends out.
    inner = np.concatenate(shares)
    inner = inner[(inner > 1e-3) & (inner < 1 - 1e-3)]
    beta = stats.beta(alpha, alpha)
    low, high = beta.cdf([1e-3, 1 - 1e-3])
    assert stats.kstest(inner, lambda x: (beta.cdf(x) - low) / (high - low)).pvalue > 1e-4


def test_cutmix_boxes_have_the_area_that_the_paper_draws():
    own = np.concatenate([np.diagonal(run(cutmix, 1.0, [seed, 1])[1]) for seed in range(25)])
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(1, 1, 100_000)) * 32
    centre = rng.uniform(0, 32, (100_000, 2))
    spans = [np.clip(c + side / 2, 0, 32) - np.clip(c - side / 2, 0, 32) for c in centre.T]
    expected = 1 - spans[0] * spans[1] / 1024
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert abs(np.quantile(own, quantile) - np.quantile(expected, quantile)) < 0.03


def test_cutmix_mixes_the_share_of_images_that_it_is_told():
    targets = np.concatenate(
        [run(partial(cutmix, p=0.25), 1.0, [seed, 3])[1] for seed in range(25)]
    )
    alone = ((targets > 0).sum(axis=1) == 1).mean()
    always = np.concatenate([run(cutmix, 1.0, [seed, 3])[1] for seed in range(25)])
    expected = 0.75 + 0.25 * ((always > 0).sum(axis=1) == 1).mean()
    assert abs(alone - expected) < 0.03


def test_every_image_has_its_own_share():
    for mix in (mixup, cutmix):
        shares = np.diagonal(run(mix, 1.0, [1, 1])[1])
        assert len(np.unique(shares)) > BATCH / 2


def test_partners_are_a_permutation():
    order = np.asarray(permutation(500, [1, 2]))
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    assert (order == np.arange(500)).sum() < 10
    assert not np.array_equal(order, np.asarray(permutation(500, [1, 3])))
