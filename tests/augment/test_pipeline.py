"""A whole policy: stateless, the same on any number of threads, and checked."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasresnet.augment import build_augmentation
from kerasresnet.augment.geometry import random_crop
from kerasresnet.augment.policy import Crop, Flip, RandAugment
from kerasresnet.augment.seeds import split
from kerasresnet.data import train_dataset
from kerasresnet.errors import UsageError

EVERYTHING = ["crop", "flip", "randaugment(n=1, std=1)", "trivialaugment", "autoaugment", "cutout"]
EVERYTHING += ["erase", "mixup", "cutmix"]
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
TARGETS = np.eye(10, dtype=np.float32)[np.arange(24) % 10]


def arrays(batch):
    return tuple(np.asarray(each) for each in batch)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


def test_no_steps_are_no_augmentation():
    assert build_augmentation([]) is None


def test_steps_are_texts_or_values():
    texts = build_augmentation(["crop(pad=2)", "randaugment(n=1, m=5)"])
    values = build_augmentation([Crop(2), RandAugment(1, 5)])
    assert texts.steps == values.steps
    assert same(texts(IMAGES, TARGETS, [1, 2]), values(IMAGES, TARGETS, [1, 2]))
    assert repr(texts) == "Augmentation(crop(pad=2), randaugment(num_ops=1, magnitude=5))"


def test_the_seed_decides_everything():
    augment = build_augmentation(EVERYTHING)
    once = augment(IMAGES, TARGETS, [1, 2])
    assert same(once, augment(IMAGES, TARGETS, tf.constant([1, 2])))
    for other in ([1, 3], [2, 2], [2, 1]):
        assert not same(once, augment(IMAGES, TARGETS, other))


def test_images_stay_uint8_and_labels_one_hot_or_mixed():
    images, targets = arrays(build_augmentation(EVERYTHING)(IMAGES, TARGETS, [1, 2]))
    assert images.dtype == np.uint8 and images.shape == IMAGES.shape
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    _, untouched = build_augmentation(EVERYTHING[:-2])(IMAGES, TARGETS, [1, 2])
    np.testing.assert_array_equal(untouched, TARGETS)


def test_steps_run_in_order_each_with_a_seed_of_its_own():
    images, _ = build_augmentation(["crop(pad=4)", "crop(pad=6)"])(IMAGES, TARGETS, [1, 2])
    first, second = split([1, 2], 2)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(images, random_crop(random_crop(IMAGES, 4, first), 6, second))


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_a_pipeline_gives_the_eager_batches_on_any_number_of_threads(drop_remainder):
    augment = build_augmentation(EVERYTHING)

    def batches(calls):
        dataset = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS))
        dataset = dataset.batch(10, drop_remainder=drop_remainder).enumerate()
        dataset = dataset.map(
            lambda step, batch: augment(*batch, tf.stack([tf.constant(3, tf.int64), step])),
            num_parallel_calls=calls,
            deterministic=True,
        )
        return list(dataset)

    alone = batches(1)
    assert [len(images) for images, _ in alone] == [10, 10] + [4] * (not drop_remainder)
    assert all(same(a, b) for a, b in zip(batches(4), alone, strict=True))
    for step, batch in enumerate(alone):
        part = slice(10 * step, 10 * step + 10)
        assert same(batch, augment(IMAGES[part], TARGETS[part], [3, step]))


def training_batches(policy, seed, first_epoch, epochs):
    dataset = train_dataset(
        IMAGES,
        np.arange(24, dtype=np.int32) % 10,
        num_classes=10,
        batch_size=8,
        seed=seed,
        augment=build_augmentation(policy, num_classes=10),
        first_epoch=first_epoch,
        epochs=epochs,
    )
    return [arrays(batch) for batch in dataset]


def test_training_repeats_by_seed_and_no_two_epochs_are_alike():
    policy = ["crop", "flip(alternating=true)", "randaugment", "cutmix"]
    batches = training_batches(policy, seed=1, first_epoch=0, epochs=2)
    assert len(batches) == 6
    assert len({images.tobytes() for images, _ in batches}) == 6
    resumed = training_batches(policy, seed=1, first_epoch=1, epochs=1)
    assert all(same(a, b) for a, b in zip(resumed, batches[3:], strict=True))
    other = training_batches(policy, seed=2, first_epoch=0, epochs=1)
    assert not any(same(a, b) for a, b in zip(other, batches[:3], strict=True))


def test_the_alternating_flip_says_that_it_needs_indices_and_epochs():
    alternating = build_augmentation([Flip(alternating=True)])
    assert alternating.needs_identity
    assert not build_augmentation(["crop", "flip"]).needs_identity
    with pytest.raises(UsageError, match="no indices"):
        alternating(IMAGES, TARGETS, [1, 2])
    views = [
        alternating(IMAGES, TARGETS, [1, e], indices=np.arange(24), epoch=e)[0] for e in (0, 1)
    ]
    mirrored = [(view.numpy() == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3)) for view in views]
    np.testing.assert_array_equal(mirrored[0], ~mirrored[1])


def test_it_can_be_compiled_by_xla_with_labels():
    augment = build_augmentation(EVERYTHING, num_classes=10)
    compiled = tf.function(augment, jit_compile=True, autograph=False)
    images, targets = arrays(compiled(IMAGES, TARGETS, tf.constant([1, 2])))
    assert images.shape == IMAGES.shape and images.dtype == np.uint8
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert same((images, targets), compiled(IMAGES, TARGETS, tf.constant([1, 2])))


def test_it_can_be_pickled():
    augment = build_augmentation(EVERYTHING, num_classes=10)
    copy = pickle.loads(pickle.dumps(augment))
    assert same(copy(IMAGES, TARGETS, [1, 2]), augment(IMAGES, TARGETS, [1, 2]))


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (IMAGES[0], TARGETS, "uint8"),
        (IMAGES / np.float32(255), TARGETS, "uint8"),
        (IMAGES, np.arange(24), "one-hot"),
        (IMAGES, TARGETS[:, :5], "10"),
    ],
)
def test_wrong_batches_are_refused(images, targets, message):
    with pytest.raises(UsageError, match=message):
        build_augmentation(["crop"], num_classes=10)(images, targets, [1, 2])


def test_wrong_policies_are_refused():
    with pytest.raises(UsageError, match="list"):
        build_augmentation("crop")
    with pytest.raises(UsageError, match="did you mean 'flip'"):
        build_augmentation(["flop"])
    with pytest.raises(UsageError, match="reads like"):
        build_augmentation([7])


def test_importing_the_package_imports_neither_keras_nor_numpy():
    code = "import sys, kerasresnet.augment; assert not {'keras', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
