"""The pieces a residual network is made of, as functions from tensor to tensor.

Convolution and batch-norm settings stand once, in `conv_bn`. They are those of the PyTorch
networks that the report published: no convolution bias, k // 2 zeros on every side, batch norm
with epsilon 1e-5 and a moving average that keeps 0.9 of the past. Blocks are those of He et al.
(arXiv 1512.03385), figure 5; the projection is its section 3.3, option B.
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from kerasresnet.network.spec import Activation, Block

BN_MOMENTUM = 0.9  # PyTorch's momentum 0.1
BN_EPSILON = 1e-5
WHITENING = "stem_conv"  # the name of the layer, in whitening stems too


def conv_bn(
    x: keras.KerasTensor,
    channels: int,
    kernel: int,
    *,
    name: str,
    index: str = "",
    stride: int = 1,
    pool: int = 1,
    activation: Activation | None = "relu",
    momentum: float = BN_MOMENTUM,
) -> keras.KerasTensor:
    """Convolution, batch norm, activation (None: none): [N, H, W, C] → [N, ⌈H/s⌉, ⌈W/s⌉, channels].

    With a `pool` above 1, windows of it are max-pooled between convolution and batch norm.
    Layers are named `{name}_conv{index}`, `{name}_pool{index}`, `{name}_bn{index}`,
    `{name}_relu{index}` or `_gelu{index}`; where there is a stride, `{name}_pad{index}` or
    `{name}_stride{index}` comes first.
    """
    padding = "same"
    if stride > 1 and kernel == 1:
        # TensorFlow 2.21 writes past an array in the filter gradient of a strided 1 x 1 convolution
        # of fewer than 16 channels in and rows of 46 pixels or more: the stride goes before it.
        x, stride = layers.AveragePooling2D(1, strides=stride, name=f"{name}_stride{index}")(x), 1
    elif stride > 1:
        # With a stride, "same" pads one side more than the other; the reference never does.
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad{index}")(x)
        padding = "valid"
    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv{index}",
    )(x)
    if pool > 1:
        x = layers.MaxPooling2D(pool, name=f"{name}_pool{index}")(x)
    x = layers.BatchNormalization(momentum=momentum, epsilon=BN_EPSILON, name=f"{name}_bn{index}")(
        x
    )
    return _activated(x, activation, f"{name}_{activation}{index}") if activation else x


def _activated(x: keras.KerasTensor, activation: Activation, name: str) -> keras.KerasTensor:
    if activation == "gelu":
        return layers.Activation("gelu", name=name)(x)  # the exact one: PyTorch's default, too
    return layers.ReLU(name=name)(x)


def whitening(x: keras.KerasTensor, kernel: int) -> keras.KerasTensor:
    """A frozen convolution and ReLU: [N, H, W, C] → [N, H-k+1, W-k+1, 2·k²·C].

    Its weights come from training images: see `kerasresnet.network.whiten`.
    """
    x = layers.Conv2D(
        2 * kernel**2 * x.shape[-1], kernel, use_bias=False, trainable=False, name=WHITENING
    )(x)
    return layers.ReLU(name="stem_relu")(x)


def _shortcut(x: keras.KerasTensor, block: Block, name: str, momentum: float) -> keras.KerasTensor:
    if not block.projects:
        return x
    name, stride = f"{name}_shortcut", block.stride
    if block.pools:
        x, stride = layers.MaxPooling2D(stride, name=f"{name}_pool")(x), 1
    return conv_bn(
        x,
        block.out_channels,
        block.shortcut_kernel,
        name=name,
        stride=stride,
        activation=None,
        momentum=momentum,
    )


def basic_block(
    x: keras.KerasTensor, block: Block, name: str, momentum: float = BN_MOMENTUM
) -> keras.KerasTensor:
    """ReLU(shortcut(x) + BN(conv(ReLU(BN(conv(x)))))), or with GELU: two k x k convolutions."""
    conv = functools.partial(conv_bn, name=name, activation=block.activation, momentum=momentum)
    k, stride, pool = block.conv_kernel, *_goes_down(block)
    y = conv(x, block.channels, k, index="1", stride=stride, pool=pool)
    y = conv(y, block.channels, k, index="2", activation=None)
    y = layers.Add(name=f"{name}_add")([_shortcut(x, block, name, momentum), y])
    return _activated(y, block.activation, f"{name}_out")


def bottleneck_block(
    x: keras.KerasTensor, block: Block, name: str, momentum: float = BN_MOMENTUM
) -> keras.KerasTensor:
    """1 x 1 down, k x k with the stride, 1 x 1 up to four times the channels; plus shortcut."""
    conv = functools.partial(conv_bn, name=name, activation=block.activation, momentum=momentum)
    k, stride, pool = block.conv_kernel, *_goes_down(block)
    y = conv(x, block.channels, 1, index="1", pool=pool)
    y = conv(y, block.channels, k, index="2", stride=stride)
    y = conv(y, block.out_channels, 1, index="3", activation=None)
    y = layers.Add(name=f"{name}_add")([_shortcut(x, block, name, momentum), y])
    return _activated(y, block.activation, f"{name}_out")


def _goes_down(block: Block) -> tuple[int, int]:
    """(stride of the k x k convolution, window of the max-pool): one of them is 1."""
    return (1, block.stride) if block.pools else (block.stride, 1)


BLOCKS = {"BB": basic_block, "BN": bottleneck_block}
