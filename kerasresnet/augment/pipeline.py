"""A whole policy as one stateless function of a batch, its targets and a seed."""

from __future__ import annotations

from collections.abc import Sequence

from kerasresnet.augment import policy
from kerasresnet.augment.arrays import Tensor, without_autograph
from kerasresnet.augment.geometry import resize
from kerasresnet.augment.seeds import Seed, split
from kerasresnet.augment.steps import apply_to_batch, check_images
from kerasresnet.errors import UsageError


class Augmentation:
    """The steps of a policy, applied in order to one batch.

    ``augmentation(images, targets, seed)`` maps images uint8 [B, H, W, C] and targets
    float32 [B, classes] to the same shapes and types; with a `size`, images come out as
    [B, size, size, C], by bilinear interpolation. It keeps no state: the same `seed`, two
    integers or an integer tensor of shape [2], gives the same batch, on any number of threads.
    """

    def __init__(
        self,
        steps: Sequence[policy.Step],
        *,
        num_classes: int | None = None,
        size: int | None = None,
    ):
        self.steps = tuple(steps)
        self.num_classes = num_classes
        self.size = size

    @property
    def needs_identity(self) -> bool:
        """Whether calls need `indices` and `epoch`: which image is seen when."""
        return any(isinstance(step, policy.Flip) and step.alternating for step in self.steps)

    def __call__(
        self,
        images: Tensor,
        targets: Tensor,
        seed: Seed,
        *,
        indices: Tensor | None = None,
        epoch: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The augmented images and targets.

        `indices` int [B], the images' places in the data set, and the int `epoch`, one or [B], are
        needed if `needs_identity`. Raises `UsageError` for wrong shapes, types or missing values.
        """
        return without_autograph(self._apply)(images, targets, seed, indices=indices, epoch=epoch)

    def _apply(self, images, targets, seed, **identity):
        self._check(images, targets)
        for step, own_seed in zip(self.steps, split(seed, len(self.steps)), strict=True):
            images, targets = apply_to_batch(step, images, targets, own_seed, **identity)
        if self.size is not None:
            images = resize(images, self.size)
        return images, targets

    def _check(self, images: Tensor, targets: Tensor) -> None:
        check_images(images)
        one_hot = len(targets.shape) == 2 and self.num_classes in (None, targets.shape[1])
        if not one_hot:
            classes = "classes" if self.num_classes is None else self.num_classes
            raise UsageError(
                f"targets are one-hot, float32 [B, {classes}], received {list(targets.shape)}"
            )

    def __repr__(self) -> str:
        return f"Augmentation({', '.join(policy.step_text(step) for step in self.steps)})"


def build_augmentation(
    steps: Sequence[str | policy.Step],
    *,
    num_classes: int | None = None,
    size: int | None = None,
) -> Augmentation | None:
    """The augmentation that `steps`, texts or values, describe; None where there is none.

    `size` is the side, in pixels, that images have afterwards (None: theirs).

    Raises `UsageError` for a step that makes no sense.
    """
    if isinstance(steps, str):
        raise UsageError(f"augmentation is a list of steps, received {steps!r}; write [{steps!r}]")
    parsed = [step if isinstance(step, policy.Step) else policy.parse_step(step) for step in steps]
    if not parsed and size is None:
        return None
    return Augmentation(parsed, num_classes=num_classes, size=size)
