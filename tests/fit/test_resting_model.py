"""Easy images rest: who, when, and what of it a restored training knows."""

import itertools

import keras
import numpy as np
import pytest

from kerasresnet.errors import UsageError
from kerasresnet.fit.resting_model import RestingModel
from kerasresnet.recipe import Recipe

IMAGES = 40


def resting_model(resting=10, augmentation=None):
    inputs = keras.Input((2, 2, 3), dtype="uint8")
    network = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    return RestingModel(network, augmentation, seed=7, images=IMAGES, resting=resting)


def test_the_easiest_rest_and_never_twice_in_a_row():
    model = resting_model()
    first = model.begin_epoch(0)
    assert (first < 0).sum() == 10 and set(first[first >= 0]) == {0}
    losses = np.random.default_rng(1).permutation(IMAGES).astype("float32")
    seen = np.where(first < 0, 0, losses + 1)
    model.news.assign(seen)
    second = model.begin_epoch(1)
    resting = np.flatnonzero(second < 0)
    there = np.flatnonzero(first >= 0)
    assert set(resting) == set(there[np.argsort(losses[there])[:10]])
    assert not set(resting) & set(np.flatnonzero(first < 0))
    assert (second[first < 0] == 0).all()  # their first turn
    rested = (first < 0) | (second < 0)
    assert (second[~rested] == 1).all()


@pytest.mark.parametrize("known", [0.0, 0.6, 1.0])
def test_at_a_half_the_images_take_turns_whoever_has_a_loss(known):
    """None has one where all are mixed; the last of an epoch that fill no batch have none."""
    model, rng = resting_model(resting=IMAGES // 2), np.random.default_rng(0)
    turns = []
    for epoch in range(6):
        turns.append(model.begin_epoch(epoch))
        measured = (turns[-1] >= 0) & (rng.random(IMAGES) < known)
        model.news.assign(np.where(measured, 1.0, 0.0).astype("float32"))
    assert all((one < 0).sum() == IMAGES / 2 for one in turns)
    assert all(((one < 0) != (next_one < 0)).all() for one, next_one in itertools.pairwise(turns))


def mixed_first(images, targets, seed, *, indices, epoch):
    """Half of every batch is mixed with another label."""
    half = 4
    mixed = keras.ops.concatenate([0.5 * targets[:half] + 0.5 / 4, targets[half:]])
    return images, mixed


@pytest.mark.parametrize("augmentation", [None, mixed_first])
def test_a_step_writes_down_the_loss_of_each_unmixed_image_without_label_smoothing(augmentation):
    model = resting_model(augmentation=augmentation)
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    model.compile("sgd", smooth)
    model.optimizer.learning_rate = 0.0
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (8, 2, 2, 3), dtype="uint8")
    targets = np.eye(4, dtype="float32")[rng.integers(0, 4, 8)]
    places = np.array([3, 5, 7, 11, 13, 17, 19, 23])
    batch = (images, places.astype("int32"), np.zeros(8, "int32")), targets
    model.fit(_Batches([batch]), verbose=0, shuffle=False)
    logits = keras.ops.convert_to_numpy(model.network(images))
    expected = np.log(np.exp(logits).sum(1)) - (logits * targets).sum(1)
    known = np.array(model.news)
    unmixed = slice(0 if augmentation is None else 4, None)
    np.testing.assert_allclose(known[places[unmixed]], expected[unmixed], rtol=1e-5)
    others = np.setdiff1d(np.arange(IMAGES), places[unmixed])
    assert (known[others] == 0).all()


class _Batches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def test_evaluation_is_the_networks_own_and_writes_nothing_down():
    model = resting_model()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    images = np.arange(24, dtype="uint8").reshape(2, 2, 2, 3)
    model.evaluate(images, np.eye(4)[:2], verbose=0)
    assert (np.array(model.news) == 0).all()
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), model.network.predict(images, verbose=0)
    )


def test_callbacks_see_one_training(tiny_recipe, digits, make_run, tmp_path):
    """Though it is one call of Keras' fit for each epoch."""
    from kerasresnet.fit.epochs import train_epochs

    class Counting(keras.callbacks.Callback):
        begun = ended = 0

        def on_train_begin(self, logs=None):
            self.begun += 1

        def on_train_end(self, logs=None):
            self.ended += 1

    changes = {"epoch_share": 0.75, "augment_on": "device", "resolution": "24:0.3, 32:0.7"}
    recipe = tiny_recipe.replace(epochs=6, batch_size=32, **changes)
    part = digits.x_train[:96], digits.y_train[:96]
    counting, log = Counting(), tmp_path / "log.csv"
    # Nothing is better by that much: it waits for two epochs, and stops.
    stopping = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=2)
    callbacks = [counting, keras.callbacks.CSVLogger(log), stopping]
    train_epochs(make_run(recipe, "run"), recipe, part, part, seed=0, callbacks=callbacks)
    assert (counting.begun, counting.ended) == (1, 1)
    assert [line.split(",")[0] for line in log.read_text().splitlines()[1:]] == ["0", "1", "2"]


def test_who_rests_and_who_is_mirrored_is_the_same_wherever_images_are_augmented(
    tiny_recipe, digits, make_run, monkeypatch
):
    """Each image is mirrored in every second of its own turns."""
    from kerasresnet.fit.epochs import train_epochs

    chosen, losses = [], []
    begin = RestingModel.begin_epoch

    def noting(model, epoch):
        chosen.append(begin(model, epoch))
        return chosen[-1]

    monkeypatch.setattr(RestingModel, "begin_epoch", noting)
    recipe = tiny_recipe.replace(
        epochs=4,
        batch_size=32,
        precision="float32",
        epoch_share=0.75,
        augment=("flip(alternating=true)",),
    )
    part = digits.x_train[:128], digits.y_train[:128]
    for where in ("pipeline", "device"):
        run = make_run(recipe.replace(augment_on=where), where)
        train_epochs(run, run.recipe, part, part, seed=0)
        losses.append([row["loss"] for row in run.metrics])
        seen = np.zeros(128, int)
        for turns in chosen[-4:]:
            assert (turns < 0).sum() == 32
            assert (turns[turns >= 0] == seen[turns >= 0]).all()
            seen += turns >= 0
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


def test_an_epoch_costs_its_share():
    recipe = Recipe.named("quick").replace(augment_on="device", epoch_share=1.0)
    rested = recipe.replace(epoch_share=0.75)
    assert rested.images_by_epoch(49_000) == 36_750
    whole = 49_000 // recipe.batch_size
    share = (36_750 // recipe.batch_size) / whole
    expected = [share * pflop for pflop in recipe.pflop_by_epoch(49_000)]
    assert rested.pflop_by_epoch(49_000) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"epoch_share": 0.4}, "greater than or equal to 0.5"),
        ({"epoch_share": 1.1}, "less than or equal to 1"),
    ],
)
def test_a_share_that_cannot_be_is_refused(settings, told):
    with pytest.raises(UsageError, match=told):
        Recipe.named("digits").replace(**settings)
