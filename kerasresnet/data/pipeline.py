"""From arrays to batches: stratified split, seeded shuffling, augmentation, batching, prefetching.

Batches are pairs (images uint8 [B, H, W, C], one-hot targets float32 [B, classes]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kerasresnet.data.images import check_labelled_images
from kerasresnet.data.stored import Images, StoredImages, take
from kerasresnet.errors import UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    Batch = tuple[tf.Tensor, tf.Tensor]
    Augment = Callable[..., Batch]
    Gather = Callable[[tf.Tensor], Batch]

Part = tuple[Images, np.ndarray]
_INT32_MAX = 2**31 - 1  # seeds and epochs are int32; as an end it is never reached


def train_val_split(x: Images, y: np.ndarray, val_size: int, seed: int) -> tuple[Part, Part]:
    """Set `val_size` images aside for validation, every class in proportion, by `seed`.

    Both parts keep the order of `x`. With `val_size` 0 the second part is empty.

    Raises:
        UsageError: fewer images than classes in one of the parts, or a class with one image.
    """
    from sklearn.model_selection import train_test_split

    if val_size == 0:
        return (x, y), (x[:0], y[:0])
    if not 0 < val_size < len(x):
        raise UsageError(
            f"a validation size is 0 to {len(x) - 1}, one less than the {len(x)} training images, "
            f"received {val_size}"
        )
    try:
        train, val = train_test_split(
            np.arange(len(x)), test_size=val_size, stratify=y, random_state=seed
        )
    except ValueError as error:
        raise UsageError(
            f"{len(x)} images of {len(np.unique(y))} classes cannot be split with "
            f"{val_size} for validation: {error}"
        ) from error
    train.sort()
    val.sort()
    return (take(x, train), y[train]), (take(x, val), y[val])


def steps_per_epoch(n: int, batch_size: int, *, drop_remainder: bool = True) -> int:
    """Batches in one pass over `n` images.

    Raises:
        UsageError: a batch size below 1, or not one full batch.
    """
    if batch_size < 1:
        raise UsageError(f"a batch size is 1 or more, received {batch_size}")
    if n < 1:
        raise UsageError("there are no images to make batches of")
    if drop_remainder and n < batch_size:
        raise UsageError(
            f"{n} training images do not fill one batch of {batch_size}; "
            f"give a batch size of {n} at most"
        )
    return n // batch_size if drop_remainder else -(-n // batch_size)


def train_dataset(
    images: Images,
    labels: np.ndarray,
    *,
    num_classes: int,
    batch_size: int,
    seed: int,
    augment: Augment | None = None,
    first_epoch: int = 0,
    epochs: int | None = None,
    drop_remainder: bool = True,
    identified: bool = False,
    turns: np.ndarray | None = None,
    gather: Gather | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of `epochs` epochs from `first_epoch` on (None: without end).

    A batch is a function of (seed, epoch, step) alone: a run that resumes at `first_epoch` sees
    what an unbroken run would have seen, on any number of cores.

    `augment(images, targets, seed)` takes and returns a batch as it stands above, with a seed int32
    [2] of its own for each batch. Where it has a true attribute `needs_identity`, it also gets
    `indices` int32 [B], the images' places in `images`, and the int32 scalar `epoch`.

    `turns`, int32 [images], says how often each image was seen before; those whose turn is negative
    are left out, and `augment` gets turns [B] in place of the `epoch`. Where `identified`, the
    first part of a batch is (images, places, turns). `gather` is what `gatherer` makes of `images`
    and `labels`, for one copy of them in several data sets.

    Raises:
        UsageError: wrong arrays, a label out of range, not one full batch, a bad seed or epoch, or
            an `augment` that changes the types.
    """
    import joblib
    import tensorflow as tf

    check_labelled_images(images, labels, num_classes, what="the training set")
    seen = np.arange(len(images), dtype="int32")
    seen = seen if turns is None else seen[turns >= 0]
    steps = steps_per_epoch(len(seen), batch_size, drop_remainder=drop_remainder)
    _check_counts(seed, first_epoch, epochs)
    gather = gather or gatherer(images, labels, num_classes)

    def load(indices: tf.Tensor, epoch: tf.Tensor, batch_seed: tf.Tensor) -> Batch:
        if drop_remainder:
            indices = tf.ensure_shape(indices, [batch_size])
        pixels, targets = gather(indices)
        turn = epoch if turns is None else tf.gather(turns, indices)
        if augment is not None:
            identity = {"indices": indices, "epoch": turn} if needs_identity else {}
            pixels, targets = augment(pixels, targets, batch_seed, **identity)
        if identified:
            return (pixels, indices, tf.broadcast_to(turn, tf.shape(indices))), targets
        return pixels, targets

    needs_identity = getattr(augment, "needs_identity", False)
    threads = max(1, joblib.cpu_count() // 2)  # the other half is for the training step
    batches = _index_batches(seen, batch_size, steps, seed, first_epoch, epochs).map(
        load, num_parallel_calls=threads, deterministic=True
    )
    _check_types(batches)
    count = tf.data.INFINITE_CARDINALITY if epochs is None else epochs * steps
    return (
        batches.apply(tf.data.experimental.assert_cardinality(count))
        .prefetch(tf.data.AUTOTUNE)
        .with_options(_options(threads))
    )


def eval_dataset(
    images: Images, labels: np.ndarray, *, num_classes: int, batch_size: int
) -> tf.data.Dataset:
    """Every image once, in order; the last batch may be smaller.

    Raises:
        UsageError: wrong arrays, no images, or a label out of range.
    """
    import tensorflow as tf

    check_labelled_images(images, labels, num_classes, what="the evaluation set")
    steps = steps_per_epoch(len(images), batch_size, drop_remainder=False)
    gather = gatherer(images, labels, num_classes)

    def batch(step: tf.Tensor) -> Batch:
        start = step * batch_size
        return gather(tf.range(start, tf.minimum(start + batch_size, len(images))))

    return tf.data.Dataset.range(steps).map(batch).prefetch(tf.data.AUTOTUNE)


def _index_batches(
    seen: np.ndarray, batch_size: int, steps: int, seed: int, first_epoch: int, epochs: int | None
) -> tf.data.Dataset:
    """(indices int32 [B], epoch, seed int32 [2]) of batches of `seen`, newly ordered by epoch."""
    import tensorflow as tf

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order_seed, batch_seed = tf.unstack(tf.random.split(tf.random.fold_in([seed, 0], epoch)))
        # index_shuffle would need no sorting, but its permutations for neighbouring seeds
        # correlate: 0.76 for 50,000 images.
        order = tf.random.experimental.stateless_shuffle(seen, order_seed)

        def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            start = step * batch_size
            return order[start : start + batch_size], epoch, tf.random.fold_in(batch_seed, step)

        return tf.data.Dataset.range(steps, output_type=tf.int32).map(batch)

    end = _INT32_MAX if epochs is None else first_epoch + epochs
    return tf.data.Dataset.range(first_epoch, end, output_type=tf.int32).flat_map(epoch_batches)


def _check_counts(seed: int, first_epoch: int, epochs: int | None) -> None:
    if not 0 <= seed <= _INT32_MAX:
        raise UsageError(f"a seed is 0 to {_INT32_MAX}, received {seed}")
    if first_epoch < 0:
        raise UsageError(f"the first epoch is 0 or more, received {first_epoch}")
    if epochs is not None and epochs < 1:
        raise UsageError(f"the number of epochs is 1 or more, received {epochs}")


def gatherer(images: Images, labels: np.ndarray, num_classes: int) -> Gather:
    """The function from indices [B] to the batch of these images."""
    import tensorflow as tf

    with tf.device("CPU:0"):  # tf.data would fetch them from a GPU's memory for every batch
        if not isinstance(images, StoredImages):
            pixels, targets = tf.constant(images), tf.one_hot(labels, num_classes)
            return lambda indices: (tf.gather(pixels, indices), tf.gather(targets, indices))
        classes = tf.constant(labels)

    def read(indices: tf.Tensor) -> Batch:
        pixels = tf.numpy_function(images.__getitem__, [indices], tf.uint8, stateful=False)
        pixels = tf.ensure_shape(pixels, [indices.shape[0], *images.shape[1:]])
        return pixels, tf.one_hot(tf.gather(classes, indices), num_classes)

    return read


def _check_types(dataset: tf.data.Dataset) -> None:
    images, targets = dataset.element_spec
    first = images[0] if isinstance(images, tuple) else images
    received = (first.dtype.name, targets.dtype.name)
    if received != ("uint8", "float32"):
        raise UsageError(
            f"augment returns uint8 images and float32 targets, received {' and '.join(received)}"
        )


def _options(threads: int) -> tf.data.Options:
    """As many threads as asked for, in the map and inside its operations together."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = threads
    options.threading.max_intra_op_parallelism = 1
    return options
