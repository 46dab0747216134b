"""Where images come from, and how they reach the model: load, split, shuffle, augment, batch.

Importing this package imports neither TensorFlow nor Keras; its functions do when they are called.
"""

from kerasresnet.data.catalog import CATALOG, DATASETS
from kerasresnet.data.images import ImageData
from kerasresnet.data.pipeline import (
    eval_dataset,
    steps_per_epoch,
    train_dataset,
    train_val_split,
)
from kerasresnet.data.request import DataRequest, load_again, load_data

__all__ = [
    "CATALOG",
    "DATASETS",
    "DataRequest",
    "ImageData",
    "eval_dataset",
    "load_again",
    "load_data",
    "steps_per_epoch",
    "train_dataset",
    "train_val_split",
]
