"""A data set: uint8 images in memory or in a file, integer labels, the names of the classes."""

from dataclasses import dataclass

import numpy as np

from kerasresnet.data.stored import Images
from kerasresnet.errors import UsageError
from kerasresnet.renamed import also_as


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images uint8 [N, H, W, C] in 0…255 and labels int32 [N] in 0…classes-1, in two parts.

    `class_names` are in the order of the labels, `source` says in a line where the images are from.
    `x_val` and `y_val` are there where the data set has a part of its own for validation.
    Images are arrays, or `StoredImages` where memory is too small for all of them.
    `own_statistics` says that a network normalises by the training images, and not by CIFAR-10's
    constants; `fingerprint` changes with the list of pictures; `skipped` names those left out.

    Raises:
        UsageError: an array of another shape or type, or a label out of range.
    """

    name: str
    x_train: Images
    y_train: np.ndarray
    x_test: Images
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    x_val: Images | None = None
    y_val: np.ndarray | None = None
    own_statistics: bool = False
    fingerprint: str | None = None
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = [("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)]
        if self.x_val is not None:
            parts.append(("val", self.x_val, self.y_val))
        for part, x, y in parts:
            if y.dtype != np.int32:
                raise UsageError(f"labels of {self.name} ({part}) are int32, received {y.dtype}")
            check_labelled_images(x, y, self.num_classes, what=f"{self.name} ({part})")
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise UsageError(
                f"training and test images of {self.name} have one shape, received "
                f"{self.x_train.shape[1:]} and {self.x_test.shape[1:]}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, as they were called first."""
        return self.class_names

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.x_train.shape[1:]


ImageData.__init__ = also_as(labels="class_names")(ImageData.__init__)


def check_labelled_images(
    images: Images, labels: np.ndarray, num_classes: int, *, what: str
) -> None:
    """Refuse anything but uint8 [N, H, W, C] images with N integer labels in 0…num_classes-1.

    Raises:
        UsageError: names `what`, and for labels the first bad index and its value.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UsageError(
            f"images of {what} are uint8 with shape [N, H, W, C], "
            f"received {images.dtype} with shape {images.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise UsageError(
            f"labels of {what} are integers with shape ({len(images)},), "
            f"received {labels.dtype} with shape {labels.shape}"
        )
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        raise UsageError(
            f"with {num_classes} classes a label is 0…{num_classes - 1}, received "
            f"{labels[bad[0]]} at index {bad[0]} of {what}"
        )
