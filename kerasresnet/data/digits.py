"""Handwritten digits in colour: a small data set that needs no network and no folder."""

from pathlib import Path

import numpy as np

from kerasresnet.data.images import ImageData

_SIZE = 32  # pixels, of CIFAR-10 and so of the networks made for it
_TEST_IMAGES = 360  # of 1,797
_SEED = 0  # the data set is one fixed thing; no caller chooses this seed


def load_digits(data_dir: str | Path | None = None, *, verbose: bool = False) -> ImageData:
    """scikit-learn's 1,797 digits as 32×32×3 images, 1,437 to train and 360 to test.

    Each image has an ink and a paper colour of its own, and either may be the darker one, so that
    neither a colour nor a brightness tells the class. The result is always the same. What other
    data sets need to be told, folder and talk, makes no difference.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    digits = datasets.load_digits()
    images = colour(enlarge(digits.images / 16), np.random.default_rng(_SEED))
    x_train, x_test, y_train, y_test = train_test_split(
        images,
        digits.target.astype(np.int32),
        test_size=_TEST_IMAGES,
        stratify=digits.target,
        random_state=_SEED,
    )
    return ImageData(
        name="digits",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple("0123456789"),
        source="scikit-learn's handwritten digits, enlarged to 32×32 and coloured",
    )


def enlarge(ink: np.ndarray) -> np.ndarray:
    """Bilinear: ink 0…1 [N, 8, 8] → float32 [N, 32, 32]."""
    from PIL import Image

    size = (_SIZE, _SIZE)
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
            for image in ink.astype(np.float32)
        ]
    )


def colour(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blend a paper and an ink colour per image: ink 0…1 [N, H, W] → uint8 [N, H, W, 3]."""
    n = len(ink)
    dark, light = rng.uniform(0, 110, (n, 3)), rng.uniform(145, 256, (n, 3))
    swap = rng.random((n, 1)) < 0.5
    paper = np.where(swap, dark, light)[:, None, None]
    pen = np.where(swap, light, dark)[:, None, None]
    return (paper + ink[..., None] * (pen - paper)).astype(np.uint8)
