"""What each step of a policy does to a batch."""

import keras

from kerasresnet.augment import autoaugment, geometry, policy, trivialaugment
from kerasresnet.augment.apply import apply_draws
from kerasresnet.augment.arrays import Tensor, ops
from kerasresnet.augment.mixing import cutmix, mixup
from kerasresnet.augment.operations import WIDE_OPERATIONS
from kerasresnet.augment.randaugment import draw_randaugment
from kerasresnet.augment.seeds import Seed
from kerasresnet.errors import UsageError


def apply_to_images(
    step: policy.Step,
    images: Tensor,
    seed: Seed,
    *,
    indices: Tensor | None = None,
    epoch: Tensor | None = None,
) -> Tensor:
    """The images, uint8 [B, H, W, C], after a step that leaves the targets alone.

    `indices` int [B] and the int `epoch`, one or [B], are needed by the alternating flip only.
    Raises `UsageError` where they are missing.
    """
    match step:
        case policy.Crop(pad, reflect):
            return geometry.random_crop(images, pad, seed, reflect=reflect)
        case policy.Flip(alternating=False):
            return geometry.random_flip(images, seed)
        case policy.Flip(alternating=True):
            _check_identity(indices, epoch)
            return geometry.alternating_flip(images, indices, epoch)
        case policy.Cutout(size):
            return geometry.random_cutout(images, size, seed)
        case policy.Erase(p):
            return geometry.random_erase(images, p, seed)
        case policy.RandAugment(num_ops, magnitude, num_bins, std):
            top = num_bins - 1
            draws = draw_randaugment(
                ops.shape(images)[0], seed, num_ops=num_ops, magnitude=magnitude, top=top, std=std
            )
            return apply_draws(images, draws, top=top)
        case policy.AutoAugment(name):
            draws = autoaugment.draw_autoaugment(ops.shape(images)[0], seed, policy=name)
            return apply_draws(images, draws, top=autoaugment.TOP_LEVEL)
        case policy.TrivialAugment():
            draws = trivialaugment.draw_trivialaugment(ops.shape(images)[0], seed)
            top = trivialaugment.TOP_LEVEL
            return apply_draws(images, draws, top=top, operations=WIDE_OPERATIONS)
        case _:
            raise UsageError(
                f"{step!r} is no step that changes images alone; use build_augmentation"
            )


def apply_to_batch(
    step: policy.Step, images: Tensor, targets: Tensor, seed: Seed, **identity: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Images, uint8 [B, H, W, C], and targets, float32 [B, classes], after any step."""
    match step:
        case policy.Mixup(alpha):
            return mixup(images, targets, alpha, seed)
        case policy.CutMix(alpha, p):
            return cutmix(images, targets, alpha, seed, p=p)
        case _:
            return apply_to_images(step, images, seed, **identity), targets


def check_images(images: Tensor) -> None:
    """Raise `UsageError` for anything but uint8 [B, H, W, C]."""
    shape, dtype = images.shape, keras.backend.standardize_dtype(images.dtype)
    if len(shape) != 4 or dtype != "uint8":
        raise UsageError(
            "augmentation takes a batch of images, uint8 [B, H, W, C], "
            f"received {dtype} {list(shape)}{_as_uint8(dtype)}"
        )


def _as_uint8(dtype: str) -> str:
    if "float" not in dtype:
        return ""
    return (
        "; of values 0…255 write ops.cast(images, 'uint8'), of 0…1 ops.cast(255 * images, 'uint8')"
    )


def _check_identity(indices: Tensor | None, epoch: Tensor | None) -> None:
    missing = [name for name, value in (("indices", indices), ("epoch", epoch)) if value is None]
    if missing:
        raise UsageError(
            "flip(alternating=true) needs to know which image it sees when, received no "
            f"{' and no '.join(missing)}; pass indices= and epoch=, or use flip"
        )
