"""What a trained network answers to the test images, kept in its run for its page."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasresnet.disk import write_bytes
from kerasresnet.errors import KerasResNetError

if TYPE_CHECKING:
    from kerasresnet.data import ImageData
    from kerasresnet.run import Run

MISTAKES, HITS = 24, 12  # pictures
AUGMENTED, TIMES = 6, 5  # training images, and how often each is shown augmented


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits [N, classes] and labels [N] of all test images, and the pixels of a few images.

    `pictures` uint8 [K, H, W, C] are the test images number `shown` [K]; `augmented` uint8
    [TIMES, M, H, W, C] is what the recipe makes of the training images `originals` [M, H, W, C] in
    its first epochs, empty where it does nothing.
    """

    logits: np.ndarray
    labels: np.ndarray
    shown: np.ndarray
    pictures: np.ndarray
    originals: np.ndarray
    augmented: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        return probabilities_of(self.logits)

    def write(self, run: Run) -> None:
        """Keep them as predictions.npz of `run`."""
        file = io.BytesIO()
        np.savez_compressed(file, **dataclasses.asdict(self))
        with run.locked():
            write_bytes(run.predictions_path, file.getbuffer())

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Raises `KerasResNetError` where the file is not what `write` writes."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = cls(**{field.name: arrays[field.name] for field in dataclasses.fields(cls)})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, TypeError):
            raise KerasResNetError(f"{path} is damaged; delete it, and ask again") from None
        return found


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [N, classes]."""
    from scipy.special import softmax

    return softmax(logits.astype(np.float64), axis=1)


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The images that are taken for a wrong class, those with the most confidence first."""
    return _of_those(probabilities.argmax(axis=1) != labels, -probabilities.max(axis=1))


def uncertain_hits(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The images that are taken for the right class, those with the least confidence first."""
    return _of_those(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1))


def _of_those(chosen: np.ndarray, order: np.ndarray) -> np.ndarray:
    found = np.flatnonzero(chosen)
    return found[np.argsort(order[found], kind="stable")]


def predictions_of(logits: np.ndarray, data: ImageData, augment: Sequence[str]) -> Predictions:
    """What a page shows of the `logits` of all test images, and of what `augment` does."""
    probabilities, labels = probabilities_of(logits), data.y_test
    shown = np.concatenate(
        [
            confident_mistakes(probabilities, labels)[:MISTAKES],
            uncertain_hits(probabilities, labels)[:HITS],
        ]
    )
    originals = data.x_train[:AUGMENTED]
    return Predictions(
        logits.astype(np.float32),
        labels,
        shown,
        data.x_test[shown],
        originals,
        _augmented(originals, augment),
    )


def _augmented(images: np.ndarray, augment: Sequence[str]) -> np.ndarray:
    """`images` as the first epochs see them: uint8 [TIMES, M, H, W, C]; empty without a step."""
    if not augment:
        return np.empty((0, *images.shape), np.uint8)
    from kerasresnet.augment.sheet import augmented

    return np.stack([augmented(images, augment, 0, epoch) for epoch in range(1, TIMES + 1)])


def kept_or_computed(run: Run, facts: Mapping[str, Any]) -> tuple[Predictions | None, str]:
    """The predictions of a run with results, and why there are none.

    A run of before they were kept gets them now, where model and images are at hand: nothing is
    downloaded for a page.
    """
    if run.predictions_path.is_file():
        return Predictions.read(run.predictions_path), ""
    from kerasresnet.evaluate.measure import logits_on
    from kerasresnet.load.predictor import load_keras

    try:
        data = _data_at_hand(facts)
        model = load_keras(run.model_path)
        logits = logits_on(model.predict_on_batch, data.x_test)
    except (KerasResNetError, KeyError, OSError) as error:
        return None, str(error)
    found = predictions_of(logits, data, run.recipe.augment)
    found.write(run)
    return found, ""


def _data_at_hand(facts: Mapping[str, Any]) -> ImageData:
    """The images of a run. Raises `KerasResNetError` where they are no more, or not here yet."""
    from kerasresnet.data import DataRequest, load_again
    from kerasresnet.data.cifar10 import find_data_dir

    data, settings = facts["data"], facts.get("data_settings")
    fetched = DataRequest.from_facts(data, settings).fetched_as
    if fetched and not (find_data_dir() / fetched).is_dir():
        raise KerasResNetError(
            f"{data} is not in {find_data_dir()}; set TFDS_DATA_DIR to its place"
        )
    return load_again(data, settings, verbose=False)
