"""From a spec to a plain functional Keras model."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from kerasresnet.network.blocks import BLOCKS, BN_MOMENTUM, conv_bn, whitening
from kerasresnet.network.spec import ResNetSpec

# Channel means and deviations of CIFAR-10's training images, in 0…1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def build_model(
    spec: ResNetSpec,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    norm_momentum: float = BN_MOMENTUM,
    any_size: bool = False,
) -> keras.Model:
    """Build the network that `spec` describes: uint8 images [N, H, W, C] → float32 logits [N, K].

    Normalisation is the first layer, so whoever calls the model passes raw pixels 0…255. `mean`
    and `std` are per channel in 0…1; default CIFAR-10's for three channels, else 0.5 and 0.25.
    `norm_momentum` is the share of the past that batch norm's moving statistics keep at each step.
    `any_size` lets a network with a global pool take images of every size, not only the spec's.
    A whitening stem starts with random weights: `whiten.set_whitening` gives it its own.
    Every layer is one of Keras' own, so a saved model loads without this package. Logits are
    float32 under every precision policy.
    """
    shape = (None, None, spec.input_shape[2]) if any_size else spec.input_shape
    inputs = keras.Input(shape, dtype="uint8", name="images")
    x = _normalisation(spec.input_shape[2], mean, std)(inputs)
    if spec.whiten:
        x = whitening(x, spec.whiten)
    else:
        how = {"stride": spec.stem_stride, "activation": spec.activation, "momentum": norm_momentum}
        x = conv_bn(x, spec.stem, spec.stem_kernel, name="stem", **how)
    for i, stage in enumerate(spec.stages):
        for j in range(stage.blocks):
            block = stage.rest if j else stage.first
            x = BLOCKS[block.kind](x, block, f"stack{i}_block{j}", norm_momentum)
    if spec.pool == "global":
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    else:
        x = layers.AveragePooling2D(spec.pool, name="pool")(x)
        x = layers.Flatten(name="flatten")(x)
    logits = layers.Dense(spec.classes, dtype="float32", name="head")(x)
    return keras.Model(inputs, logits, name="resnet")


def _normalisation(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> keras.Layer:
    if mean is None:
        mean = CIFAR10_MEAN if channels == 3 else (0.5,) * channels
    if std is None:
        std = CIFAR10_STD if channels == 3 else (0.25,) * channels
    # float32 always: the means do not survive bfloat16's 8 bits.
    return layers.Normalization(
        mean=[255 * m for m in mean],
        variance=[(255 * s) ** 2 for s in std],
        dtype="float32",
        name="normalisation",
    )
