"""The layers: seeds, pipelines, training, saving."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasresnet.augment import (
    AutoAugment,
    Cutout,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    TrivialAugment,
)
from kerasresnet.errors import UsageError

MAKERS = {
    "crop": lambda **k: RandomCrop(3, **k),
    "reflected crop": lambda **k: RandomCrop(3, reflect=True, **k),
    "flip": lambda **k: RandomFlip(**k),
    "randaugment": lambda **k: RandAugment(3, magnitude=12, num_bins=21, std=0.7, **k),
    "trivialaugment": lambda **k: TrivialAugment(**k),
    "autoaugment": lambda **k: AutoAugment("cifar10", **k),
    "cutout": lambda **k: Cutout(5, **k),
    "erase": lambda **k: RandomErasing(0.75, **k),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)

each_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def same(a, b) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


@each_layer
def test_a_given_seed_decides_everything_eagerly_in_a_graph_and_in_a_pipeline(make):
    layer = make()
    eager = layer(IMAGES, seed=[4, 7])
    assert eager.dtype == "uint8" and eager.shape == IMAGES.shape
    assert not same(eager, IMAGES)
    assert same(eager, make()(IMAGES, seed=tf.constant([4, 7])))
    assert not same(eager, layer(IMAGES, seed=[4, 8]))
    assert not same(eager, layer(IMAGES, seed=[5, 7]))
    assert same(eager, tf.function(lambda x: layer(x, seed=[4, 7]), autograph=False)(IMAGES))
    dataset = tf.data.Dataset.from_tensors(IMAGES).map(lambda x: layer(x, seed=[4, 7]))
    assert dataset.element_spec == tf.TensorSpec(IMAGES.shape, tf.uint8)
    assert same(eager, next(iter(dataset)))


@each_layer
def test_its_own_seeds_repeat_from_layer_to_layer_but_not_from_call_to_call(make):
    first, second = make(seed=3), make(seed=3)
    calls = [first(IMAGES) for _ in range(2)]
    assert not same(*calls)
    assert same(calls[0], second(IMAGES)) and same(calls[1], second(IMAGES))
    assert not same(make(seed=4)(IMAGES), make(seed=3)(IMAGES))


@each_layer
def test_a_pipeline_with_the_layer_itself_draws_anew_for_each_batch_and_epoch(make):
    layer = make(seed=1)
    dataset = tf.data.Dataset.from_tensors(IMAGES).repeat(2).map(layer)
    batches = [batch.numpy() for _ in range(2) for batch in dataset]
    assert len({batch.tobytes() for batch in batches}) == 4
    layer = make(seed=1)
    again = tf.data.Dataset.from_tensors(IMAGES).repeat(2).map(layer)
    assert all(
        same(a, b) for a, b in zip(batches, [b for _ in range(2) for b in again], strict=True)
    )


@each_layer
def test_a_seeded_pipeline_repeats_with_any_number_of_parallel_calls(make):
    layer = make()

    def batches(calls):
        dataset = tf.data.Dataset.from_tensors(IMAGES).repeat(12).enumerate()
        augmented = dataset.map(
            lambda step, x: layer(x, seed=tf.stack([tf.constant(5, tf.int64), step])),
            num_parallel_calls=calls,
            deterministic=True,
        )
        return np.stack([batch.numpy() for batch in augmented])

    alone = batches(1)
    assert len({batch.tobytes() for batch in alone}) == 12
    for calls in (2, 8):
        np.testing.assert_array_equal(batches(calls), alone)


@each_layer
def test_its_config_makes_the_same_layer(make):
    layer = make(seed=9)
    copies = [
        type(layer).from_config(layer.get_config()),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)),
        pickle.loads(pickle.dumps(layer)),
    ]
    expected = layer(IMAGES)
    for copy in copies:
        assert copy.get_config() == layer.get_config()
        assert same(copy(IMAGES, seed=[1, 2]), layer(IMAGES, seed=[1, 2]))
        assert same(copy(IMAGES), expected)


@each_layer
def test_outside_training_nothing_changes(make):
    assert same(make()(IMAGES, training=False), IMAGES)


def model(jit_compile) -> keras.Model:
    layers = [RandomCrop(seed=2), RandomFlip(seed=2), RandAugment(1, seed=2), RandomErasing(seed=2)]
    head = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    built = keras.Sequential([keras.Input((16, 16, 3), dtype="uint8"), *layers, *head])
    built.compile("sgd", "mse", jit_compile=jit_compile)
    return built


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_model_that_begins_with_them_trains_predicts_and_is_saved(jit_compile, tmp_path):
    trained = model(jit_compile)
    history = trained.fit(IMAGES, np.ones((32, 2)), batch_size=16, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    prediction = trained.predict(IMAGES, verbose=0)
    assert same(prediction, trained.predict(IMAGES, verbose=0))
    assert not same(prediction, trained(IMAGES, training=True))
    trained.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), prediction, atol=1e-6)


def test_mixed_precision_leaves_the_images_alone():
    layer = RandAugment(dtype="mixed_bfloat16")
    assert same(layer(IMAGES, seed=[1, 2]), RandAugment()(IMAGES, seed=[1, 2]))


def test_the_alternating_flip_needs_to_know_the_image_and_the_epoch():
    layer, indices = RandomFlip(alternating=True), np.arange(32)
    with pytest.raises(UsageError, match="no indices and no epoch"):
        layer(IMAGES)
    with pytest.raises(UsageError, match="no epoch"):
        layer(IMAGES, indices=indices)
    even, odd, even_again = (layer(IMAGES, indices=indices, epoch=e) for e in (0, 1, 2))
    assert same(even, even_again) and not same(even, odd)


@pytest.mark.parametrize("images", [IMAGES[0], IMAGES.astype(np.float32), IMAGES[None]])
def test_anything_but_a_batch_of_uint8_images_is_refused(images):
    with pytest.raises(UsageError, match="uint8"):
        RandAugment()(images, seed=[1, 2])


def test_a_model_of_float_images_is_refused_when_it_is_built():
    with pytest.raises(UsageError, match="float32"):
        keras.Sequential([keras.Input((16, 16, 3)), RandomCrop()])


def test_settings_that_make_no_sense_are_refused():
    for make in (
        lambda: RandomCrop(-1),
        lambda: RandAugment(magnitude=31),
        lambda: AutoAugment("x"),
    ):
        with pytest.raises(UsageError):
            make()
