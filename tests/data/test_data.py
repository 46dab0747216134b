"""Images in memory, the digits, and the pipelines."""

import subprocess
import sys

import joblib
import numpy as np
import pytest

from kerasresnet import data
from kerasresnet.data.images import ImageData
from kerasresnet.errors import UsageError

N, CLASSES = 300, 10


def numbered(n=N):
    """Images that carry their own number in their pixels, and labels that follow from it."""
    numbers = np.arange(n)
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[..., 0], images[..., 1] = (numbers // 256)[:, None, None], (numbers % 256)[:, None, None]
    return images, (numbers % CLASSES).astype(np.int32)


def numbers_of(images):
    images = np.asarray(images).astype(int)
    return images[:, 0, 0, 0] * 256 + images[:, 0, 0, 1]


def batches(**arguments):
    images, labels = numbered()
    arguments = {"num_classes": CLASSES, "batch_size": 32, "seed": 7, "epochs": 2} | arguments
    dataset = data.train_dataset(images, labels, **arguments)
    return [tuple(part.numpy() for part in batch) for batch in dataset]


def identified(**arguments):
    settings = {"num_classes": CLASSES, "batch_size": 32, "seed": 7, "epochs": 2} | arguments
    return data.train_dataset(*numbered(), identified=True, **settings).as_numpy_iterator()


def noise(images, labels, seed):
    """An augmentation that depends on every bit of its seed, and on nothing else."""
    import tensorflow as tf

    bits = tf.random.stateless_uniform(tf.shape(images), seed, maxval=256, dtype=tf.int32)
    return tf.cast(bits, tf.uint8), labels


# ImageData


def test_importing_the_package_imports_no_framework():
    code = "import sys, kerasresnet.data; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"tensorflow", "keras", "tensorflow_datasets", "sklearn"} & set(modules)


def test_unknown_data_set_error_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"'cifar11'.*cifar10, digits"):
        data.load_data("cifar11")


@pytest.mark.parametrize("bad, index", [(-1, 5), (CLASSES, 17)])
def test_label_out_of_range_is_named_with_its_index(bad, index):
    x, y = numbered(20)
    y[index:] = bad
    with pytest.raises(UsageError, match=rf"a label is 0…9, received {bad} at index {index} "):
        data.train_dataset(x, y, num_classes=CLASSES, batch_size=4, seed=0)
    with pytest.raises(UsageError, match=rf"received {bad} at index {index} "):
        data.eval_dataset(x, y, num_classes=CLASSES, batch_size=4)
    with pytest.raises(UsageError, match=rf"received {bad} at index {index} of toy \(test\)"):
        ImageData("toy", *numbered(20), x, y, tuple("abcdefghij"), "made here")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x_train": np.zeros((20, 4, 4, 3), np.float32)}, "uint8 with shape .* received float32"),
        ({"x_train": np.zeros((20, 4, 4), np.uint8)}, r"received uint8 with shape \(20, 4, 4\)"),
        ({"y_train": np.zeros(20, np.int64)}, "are int32, received int64"),
        ({"y_train": np.zeros(19, np.int32)}, r"shape \(20,\), received int32 with shape \(19,\)"),
        ({"x_test": np.zeros((20, 5, 4, 3), np.uint8)}, r"\(4, 4, 3\) and \(5, 4, 3\)"),
    ],
)
def test_image_data_refuses_other_arrays(change, message):
    x, y = numbered(20)
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | change
    with pytest.raises(UsageError, match=message):
        ImageData("toy", **arrays, class_names=tuple("abcdefghij"), source="made here")


# Digits


def test_digits_are_the_same_every_time(digits):
    again = data.load_data("digits")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(digits, name), getattr(again, name))


def test_digits_look_like_cifar10_to_a_network(digits):
    assert digits.image_shape == (32, 32, 3)
    assert (digits.num_classes, len(digits.x_train), len(digits.x_test)) == (10, 1437, 360)


def test_digits_split_is_stratified(digits):
    share = np.bincount(digits.y_test) / np.bincount(digits.y_train)
    np.testing.assert_allclose(share, 360 / 1437, rtol=0.05)


def test_digits_are_told_by_their_shape_and_not_by_their_colour(digits):
    from sklearn.neighbors import KNeighborsClassifier

    def score(features):
        model = KNeighborsClassifier(1).fit(features(digits.x_train), digits.y_train)
        return model.score(features(digits.x_test), digits.y_test)

    def colour(images):
        return images.mean(axis=(1, 2))

    def shape(images):
        # Brightness between paper and ink, and paper is what the corners show.
        grey = images[:, 2::4, 2::4].astype(float).sum(axis=3).reshape(len(images), -1)
        distance = np.abs(grey - grey[:, :1])
        return distance / np.linalg.norm(distance, axis=1, keepdims=True)

    assert score(colour) < 0.2
    assert score(shape) > 0.95


# Split


def test_validation_split_is_stratified_seeded_and_complete():
    x, y = numbered()
    (x_train, y_train), (x_val, y_val) = data.train_val_split(x, y, 50, seed=1)
    assert np.bincount(y_val).tolist() == [5] * CLASSES
    assert sorted([*numbers_of(x_train), *numbers_of(x_val)]) == list(range(N))
    np.testing.assert_array_equal(y_train, numbers_of(x_train) % CLASSES)
    np.testing.assert_array_equal(x_val, data.train_val_split(x, y, 50, seed=1)[1][0])
    assert (x_val != data.train_val_split(x, y, 50, seed=2)[1][0]).any()


def test_validation_size_zero_keeps_everything_for_training():
    x, y = numbered()
    (x_train, y_train), (x_val, y_val) = data.train_val_split(x, y, 0, seed=1)
    assert len(x_train) == len(y_train) == N
    assert x_val.shape == (0, 4, 4, 3) and y_val.shape == (0,) and y_val.dtype == np.int32


@pytest.mark.parametrize("size", [-1, N, 5])
def test_impossible_validation_size_is_refused(size):
    with pytest.raises(UsageError, match=str(size)):
        data.train_val_split(*numbered(), size, seed=1)


# Training batches


def test_an_epoch_shows_each_image_at_most_once_with_its_own_label():
    for epoch in (batches()[:9], batches()[9:]):
        numbers = np.concatenate([numbers_of(x) for x, _ in epoch])
        assert len(numbers) == len(set(numbers)) == 288
        labels = np.concatenate([y for _, y in epoch])
        np.testing.assert_array_equal(labels, np.eye(CLASSES, dtype=np.float32)[numbers % 10])


def test_the_last_smaller_batch_is_kept_on_request():
    sizes = [len(x) for x, _ in batches(epochs=1, drop_remainder=False)]
    assert sizes == [32] * 9 + [12]


def test_a_batch_can_say_which_images_it_holds():
    for step, ((images, places, epochs), _) in enumerate(identified()):
        np.testing.assert_array_equal(numbers_of(images), places)
        assert (epochs == step // 9).all()


def test_images_whose_turn_is_negative_are_left_out_and_the_others_say_their_turn():
    turns = np.where(np.arange(N) % 3 == 0, -1, np.arange(N) % 5).astype("int32")
    shown = list(identified(turns=turns, epochs=1, first_epoch=4))
    assert len(shown) == (turns >= 0).sum() // 32
    places, told = np.concatenate([identity for (_, *identity), _ in shown], axis=1)
    assert len(set(places)) == len(places) and (turns[places] >= 0).all()
    np.testing.assert_array_equal(turns[places], told)
    numbers = np.concatenate([numbers_of(images) for (images, *_), _ in shown])
    np.testing.assert_array_equal(numbers, places)


def test_orders_of_epochs_and_seeds_do_not_correlate():
    n, epochs = 10_000, 4
    images, labels = numbered(n)

    def orders(seed):
        dataset = data.train_dataset(
            images, labels, num_classes=CLASSES, batch_size=1000, seed=seed, epochs=epochs
        )
        return np.concatenate([numbers_of(x) for x, _ in dataset]).reshape(epochs, n)

    every = np.concatenate([orders(0), orders(1), [np.arange(n)]])
    correlation = np.corrcoef(every) - np.eye(len(every))
    assert np.abs(correlation).max() < 0.05  # 5 standard deviations of independent orders


def test_a_resumed_dataset_continues_exactly():
    unbroken = batches(epochs=3, augment=noise)
    resumed = batches(first_epoch=2, epochs=1, augment=noise)
    assert len(resumed) == 9
    for (x, y), (x_again, y_again) in zip(unbroken[18:], resumed, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_the_number_of_cores_changes_nothing(monkeypatch):
    runs = []
    for cores in (1, 16):
        monkeypatch.setattr(joblib, "cpu_count", lambda cores=cores: cores)
        runs.append(batches(augment=noise))
    for (x, y), (x_again, y_again) in zip(*runs, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_every_batch_has_an_augmentation_seed_of_its_own():
    every = [x for seed in (0, 1) for x, _ in batches(seed=seed, augment=noise)]
    assert len({x.tobytes() for x in every}) == len(every) == 36


def test_augmentation_is_told_which_image_and_epoch_if_it_asks():
    class Tell:
        needs_identity = True

        def __call__(self, images, labels, seed, *, indices, epoch):
            import tensorflow as tf

            told = tf.cast(tf.stack([indices // 256, indices % 256], axis=-1), tf.uint8)
            epoch = tf.cast(tf.fill([len(indices), 1], epoch), tf.uint8)
            return tf.concat([told, epoch], axis=1)[:, None, None, :], labels

    plain, told = batches(first_epoch=3), batches(first_epoch=3, augment=Tell())
    for step, ((x, _), (x_told, _)) in enumerate(zip(plain, told, strict=True)):
        np.testing.assert_array_equal(numbers_of(x), numbers_of(x_told))
        assert (x_told[:, 0, 0, 2] == 3 + step // 9).all()


def test_cardinality_is_what_the_dataset_holds():
    import tensorflow as tf

    images, labels = numbered()
    endless = data.train_dataset(images, labels, num_classes=CLASSES, batch_size=32, seed=0)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert sum(1 for _ in endless.take(25)) == 25
    finite = data.train_dataset(
        images, labels, num_classes=CLASSES, batch_size=32, seed=0, first_epoch=5, epochs=2
    )
    assert len(finite) == sum(1 for _ in finite) == 18


def test_keras_trains_and_evaluates_on_the_datasets():
    import keras

    images, labels = numbered()
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    train = data.train_dataset(
        images, labels, num_classes=CLASSES, batch_size=32, seed=0, augment=noise
    )
    steps = data.steps_per_epoch(N, 32)
    history = model.fit(train, epochs=2, steps_per_epoch=steps, verbose=0).history
    assert len(history["loss"]) == 2
    assert model.optimizer.iterations == 18
    held_out = data.eval_dataset(images, labels, num_classes=CLASSES, batch_size=64)
    assert model.predict(held_out, verbose=0).shape == (N, CLASSES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 301}, "300 training images do not fill one batch of 301"),
        ({"batch_size": 0}, "batch size is 1 or more, received 0"),
        ({"seed": -1}, "seed is 0 to 2147483647, received -1"),
        ({"first_epoch": -1}, "first epoch is 0 or more, received -1"),
        ({"epochs": 0}, "number of epochs is 1 or more, received 0"),
        ({"num_classes": 5}, "received 5 at index 5 of the training set"),
    ],
)
def test_senseless_training_arguments_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        batches(**arguments)


def test_augmentation_that_changes_the_types_is_refused():
    def to_float(images, labels, seed):
        import tensorflow as tf

        return tf.cast(images, tf.float32), labels

    with pytest.raises(UsageError, match="received float32 and float32"):
        batches(augment=to_float)


# Evaluation batches


def test_evaluation_shows_every_image_once_in_order():
    images, labels = numbered()
    dataset = data.eval_dataset(images, labels, num_classes=CLASSES, batch_size=64)
    assert len(dataset) == 5
    x, y = (np.concatenate(parts) for parts in zip(*dataset.as_numpy_iterator(), strict=True))
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, np.eye(CLASSES, dtype=np.float32)[labels])


def test_evaluation_of_nothing_is_refused():
    images, labels = numbered(0)
    with pytest.raises(UsageError, match="no images"):
        data.eval_dataset(images, labels, num_classes=CLASSES, batch_size=64)
