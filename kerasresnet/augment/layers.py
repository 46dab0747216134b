"""The augmentations as Keras layers: on batches in `dataset.map`, or first in a model."""

import dataclasses

import keras

from kerasresnet.augment import policy as steps
from kerasresnet.augment.arrays import Tensor, in_foreign_pipeline, without_autograph
from kerasresnet.augment.seeds import Seed
from kerasresnet.augment.steps import apply_to_images, check_images
from kerasresnet.errors import UsageError


class ImageAugmentation(keras.layers.Layer):
    """What the layers here share: uint8 images [B, H, W, C] in, the same shape and type out.

    ``layer(images)`` draws from the layer's own `keras.random.SeedGenerator`, and the same call
    twice gives two results. ``layer(images, seed=[3, 5])`` is stateless: two integers, or an
    integer tensor of shape [2], decide everything. In a tf.data pipeline with parallel calls only
    the stateless form is repeatable. With ``training=False`` the images pass unchanged, so a model
    that begins with these layers predicts without them.

    Raises `UsageError` for images of another type or rank.
    """

    def __init__(self, step: steps.Step, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.step = step
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def __call__(self, images: Tensor, *args, **kwargs) -> Tensor:
        # Under another backend Keras would take a tf.data pipeline's tensors for its own arrays.
        call = self.call if in_foreign_pipeline() else super().__call__
        return without_autograph(call)(images, *args, **kwargs)

    def call(
        self,
        images: Tensor,
        seed: Seed | None = None,
        indices: Tensor | None = None,
        epoch: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        if not training:
            return images
        check_images(images)
        if seed is None:
            seed = self._next_seed()
        return apply_to_images(self.step, images, seed, indices=indices, epoch=epoch)

    def _next_seed(self) -> Tensor:
        if in_foreign_pipeline():
            raise UsageError(
                f"in a tf.data pipeline under Keras' {keras.backend.backend()} backend a layer "
                "cannot draw its own seeds, received none; pass seed=, two integers"
            )
        return self.generator.next()

    def compute_output_spec(self, images, *args, **kwargs):
        if images.dtype != "uint8":
            raise UsageError(
                "a model that begins with augmentation takes uint8 images, received "
                f'{images.dtype}; write keras.Input(shape, dtype="uint8"), and Keras casts float '
                "images of 0…255 itself"
            )
        return keras.KerasTensor(images.shape, images.dtype)

    def get_config(self):
        return {**super().get_config(), **dataclasses.asdict(self.step), "seed": self.seed}


@keras.saving.register_keras_serializable("kerasresnet")
class RandomCrop(ImageAugmentation):
    """A window of the image's own size out of the image padded by `pad` on each side.

    Every image draws its own offsets, each of 0…2·pad with the same probability. The padding is
    zeros or, with `reflect`, the picture mirrored at its border.
    """

    def __init__(self, pad: int = 4, reflect: bool = False, **kwargs):
        super().__init__(steps.Crop(pad, reflect), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class RandomFlip(ImageAugmentation):
    """Mirror left and right, each image with probability 1/2.

    With `alternating`, image i is mirrored in epoch e where hash(i) + e is even, so that any two
    successive epochs hold both views of it (airbench, arXiv 2404.00498, section 3.6). Then the
    call needs `indices`, int [B], the images' places in the data set, and the `epoch`.
    """

    def __init__(self, alternating: bool = False, **kwargs):
        super().__init__(steps.Flip(alternating), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class RandAugment(ImageAugmentation):
    """`num_ops` operations for each image, drawn from 14, all of one strength (arXiv 1909.13719).

    Every image draws its own operations, their order and their signs. `magnitude` counts in
    levels 0…`num_bins` − 1 of torchvision's ranges; `std` is the standard deviation, in levels,
    of a normal jitter of it that every image and operation draws. Images have 3 channels or 1.
    Every operation gives PIL's pixels: nearest neighbour, zeros from outside.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9,
        num_bins: int = 31,
        std: float = 0.0,
        **kwargs,
    ):
        super().__init__(steps.RandAugment(num_ops, magnitude, num_bins, std), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class TrivialAugment(ImageAugmentation):
    """One operation for each image, drawn from 14, at a strength of its own (arXiv 2103.10158).

    The paper's wide form, as torchvision's `TrivialAugmentWide`: 31 strengths, up to rotations by
    135° and two bits a channel. Translations go up to the image's whole side, torchvision's 32
    pixels where that has 32. Every image draws its own operation, strength and sign. For the
    operations see `RandAugment`.
    """

    def __init__(self, **kwargs):
        super().__init__(steps.TrivialAugment(), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class AutoAugment(ImageAugmentation):
    """One of a searched policy's 25 pairs of operations for each image (arXiv 1805.09501).

    Every image draws its own pair, which of the two happen, and their signs. `policy` is
    "cifar10". For the operations see `RandAugment`.
    """

    def __init__(self, policy: str = "cifar10", **kwargs):
        super().__init__(steps.AutoAugment(policy), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class Cutout(ImageAugmentation):
    """Zero a square of `size` pixels around a random pixel, cut at the edges (arXiv 1708.04552).

    The paper zeroes normalised images, and so fills with the mean colour; here the images are
    still uint8, and the square is black.
    """

    def __init__(self, size: int = 8, **kwargs):
        super().__init__(steps.Cutout(size), **kwargs)


@keras.saving.register_keras_serializable("kerasresnet")
class RandomErasing(ImageAugmentation):
    """Zero a rectangle inside each image with probability `p` (arXiv 1708.04896).

    Every image draws its own: 2 to 33 % of the area, height 0.3 to 3.3 times the width, as
    torchvision's `RandomErasing`. It is black, as in `Cutout`; unlike a cutout it is never cut.
    """

    def __init__(self, p: float = 0.5, **kwargs):
        super().__init__(steps.Erase(p), **kwargs)
