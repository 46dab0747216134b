"""What RandAugment, TrivialAugment and AutoAugment draw: each operation with its probability."""

from collections import Counter

import numpy as np
import pytest

from kerasresnet.augment.autoaugment import SUB_POLICIES, draw_autoaugment
from kerasresnet.augment.operations import CODE, OPERATIONS
from kerasresnet.augment.randaugment import RANDAUGMENT_OPERATIONS, draw_randaugment
from kerasresnet.augment.trivialaugment import draw_trivialaugment

MANY = 280_000
NAMES = list(CODE)

# The policy in the words of the papers' first re-implementation: probability, operation, level.
CIFAR10 = """
0.1 invert 7 0.2 contrast 6; 0.7 rotate 2 0.3 translatex 9; 0.8 sharpness 1 0.9 sharpness 3;
0.5 sheary 8 0.7 translatey 9; 0.5 autocontrast 8 0.9 equalize 2; 0.2 sheary 7 0.3 posterize 7;
0.4 color 3 0.6 brightness 7; 0.3 sharpness 9 0.7 brightness 9; 0.6 equalize 5 0.5 equalize 1;
0.6 contrast 7 0.6 sharpness 5; 0.7 color 7 0.5 translatex 8; 0.3 equalize 7 0.4 autocontrast 8;
0.4 translatey 3 0.2 sharpness 6; 0.9 brightness 6 0.2 color 8; 0.5 solarize 2 0.0 invert 3;
0.2 equalize 0 0.6 autocontrast 0; 0.2 equalize 8 0.6 equalize 4; 0.9 color 9 0.6 equalize 6;
0.8 autocontrast 4 0.2 solarize 8; 0.1 brightness 3 0.7 color 0; 0.4 solarize 5 0.9 autocontrast 3;
0.9 translatey 9 0.7 translatey 9; 0.9 autocontrast 2 0.8 solarize 3; 0.8 equalize 8 0.1 invert 3;
0.7 translatey 9 0.9 autocontrast 1
"""
HAS_NO_LEVEL = ("AutoContrast", "Equalize", "Invert", "Identity")


def expected_cifar10() -> dict[tuple, float]:
    """The probability of each ((operation, level), (operation, level)), from the words above."""
    spelled = {name.lower(): name for name in NAMES}
    expected = Counter()
    for line in CIFAR10.split(";"):
        p1, name1, level1, p2, name2, level2 = line.split()

        def outcomes(p: str, name: str, level: str) -> list[tuple]:
            name = spelled[name]
            happens = (name, 0 if name in HAS_NO_LEVEL else int(level))
            return [(happens, float(p)), (("Identity", 0), 1 - float(p))]

        for first, share1 in outcomes(p1, name1, level1):
            for second, share2 in outcomes(p2, name2, level2):
                expected[first, second] += share1 * share2 / 25
    return expected


def test_autoaugment_draws_every_pair_with_its_probability():
    draws = draw_autoaugment(MANY, [1, 2], policy="cifar10")
    names = np.array(NAMES)[draws.operation.numpy()]
    levels = np.where(np.isin(names, HAS_NO_LEVEL), 0, draws.level.numpy()).astype(int)
    drawn = Counter(
        ((a, k), (b, m)) for (a, b), (k, m) in zip(names.tolist(), levels.tolist(), strict=True)
    )
    expected = expected_cifar10()
    assert set(drawn) == {pair for pair, share in expected.items() if share > 0}
    for pair, share in expected.items():
        deviation = np.sqrt(MANY * share * (1 - share))
        assert abs(drawn[pair] - MANY * share) <= 5 * deviation, pair


def test_the_cifar10_policy_has_25_pairs_within_the_ten_levels():
    policy = SUB_POLICIES["cifar10"]
    assert len(policy) == 25
    for pair in policy:
        for name, probability, level in pair:
            assert name in OPERATIONS
            assert 0 <= probability <= 1
            assert 0 <= level <= 9


def randaugment(batch=MANY, seed=(3, 4), num_ops=2, magnitude=9, top=30, std=0.0):
    draws = draw_randaugment(batch, seed, num_ops=num_ops, magnitude=magnitude, top=top, std=std)
    return tuple(tensor.numpy() for tensor in draws)


def test_randaugment_draws_each_pair_of_the_14_operations_equally_often():
    operation, _, _ = randaugment()
    counts = np.zeros((len(NAMES), len(NAMES)), int)
    np.add.at(counts, tuple(operation.T), 1)
    drawn = [CODE[name] for name in RANDAUGMENT_OPERATIONS]
    assert len(drawn) == 14 and CODE["Invert"] not in drawn
    assert counts.sum() == counts[np.ix_(drawn, drawn)].sum()
    share = 1 / 196
    deviation = np.sqrt(MANY * share * (1 - share))
    assert np.abs(counts[np.ix_(drawn, drawn)] - MANY * share).max() < 5 * deviation


def test_trivialaugment_draws_each_operation_at_each_level_equally_often():
    operation, level, mirror = (tensor.numpy() for tensor in draw_trivialaugment(MANY, [7, 8]))
    assert operation.shape == level.shape == mirror.shape == (MANY, 1)
    assert level.dtype == np.float32 and (level == level.round()).all()
    counts = np.zeros((len(NAMES), 31), int)
    np.add.at(counts, (operation[:, 0], level[:, 0].astype(int)), 1)
    drawn = counts[[CODE[name] for name in RANDAUGMENT_OPERATIONS]]
    assert drawn.sum() == MANY and drawn.shape == (14, 31)
    share = 1 / 14 / 31
    deviation = np.sqrt(MANY * share * (1 - share))
    assert np.abs(drawn - MANY * share).max() < 5 * deviation


DRAWS = {
    "randaugment": randaugment,
    "trivialaugment": lambda: draw_trivialaugment(MANY, [5, 6]),
    "autoaugment": lambda: draw_autoaugment(MANY, [5, 6], policy="cifar10"),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_signs_are_balanced_and_independent_of_the_operation(draw):
    operation, _, mirror = map(np.asarray, draw())
    for slot in range(operation.shape[1]):
        for code in np.unique(operation[:, slot]):
            signs = mirror[operation[:, slot] == code, slot]
            assert abs(signs.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(signs)), NAMES[code]
        for other in range(slot):
            both = mirror[:, slot] ^ mirror[:, other]
            assert abs(both.mean() - 0.5) < 5 * 0.5 / np.sqrt(MANY)


def test_without_std_every_level_is_the_magnitude():
    _, level, _ = randaugment(batch=100, magnitude=4.5)
    assert (level == 4.5).all()


def test_std_spreads_the_levels_normally_and_keeps_them_in_range():
    _, level, _ = randaugment(magnitude=15, std=2.0)
    assert abs(level.mean() - 15) < 0.03
    assert abs(level.std() - 2) < 0.03
    _, level, _ = randaugment(magnitude=29, std=5.0)
    assert level.min() >= 0 and level.max() == 30
    assert abs((level == 30).mean() - 0.4207) < 0.005  # a normal exceeds 0.2 deviations so often
    assert abs(np.corrcoef(level.T)[0, 1]) < 0.01


def test_every_number_of_operations_is_drawn():
    for num_ops in (1, 3, 5):
        operation, level, mirror = randaugment(batch=10, num_ops=num_ops)
        assert operation.shape == level.shape == mirror.shape == (10, num_ops)


def test_the_images_of_a_batch_and_their_slots_draw_independently():
    operation, _, _ = randaugment(batch=20_000)
    assert len(np.unique(operation, axis=0)) == 196
    repeats = (operation[1:] == operation[:-1]).mean(axis=0)
    assert np.abs(repeats - 1 / 14).max() < 5 * np.sqrt(1 / 14 / 20_000)
    assert abs((operation[:, 0] == operation[:, 1]).mean() - 1 / 14) < 0.01
