"""The pieces a residual network is made of, as functions from tensor to tensor.

Convolution and batch-norm settings stand once, in `conv_bn`. They are those of the PyTorch
networks that the report published: no convolution bias, k // 2 zeros on every side, batch norm
with epsilon 1e-5 and a moving average that keeps 0.9 of the past. Blocks are those of He et al.
(arXiv 1512.03385), figure 5; the projection is its section 3.3, option B.
"""

from __future__ import annotations

import keras
from keras import layers

from kerasresnet.network.spec import Block

BN_MOMENTUM = 0.9  # PyTorch's momentum 0.1
BN_EPSILON = 1e-5


def conv_bn(
    x: keras.KerasTensor,
    channels: int,
    kernel: int,
    *,
    name: str,
    index: str = "",
    stride: int = 1,
    activation: bool = True,
) -> keras.KerasTensor:
    """Convolution, batch norm and (unless told) ReLU: [N, H, W, C] → [N, ⌈H/s⌉, ⌈W/s⌉, channels].

    Layers are named `{name}_conv{index}`, `{name}_bn{index}`, `{name}_relu{index}`.
    """
    padding = "same"
    if stride > 1 and kernel > 1:
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
    x = layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn{index}"
    )(x)
    return layers.ReLU(name=f"{name}_relu{index}")(x) if activation else x


def _shortcut(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    if not block.projects:
        return x
    kernel, stride = block.shortcut_kernel, block.stride
    name = f"{name}_shortcut"
    return conv_bn(x, block.out_channels, kernel, name=name, stride=stride, activation=False)


def basic_block(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    """ReLU(shortcut(x) + BN(conv(ReLU(BN(conv(x)))))): two k x k convolutions."""
    k = block.conv_kernel
    y = conv_bn(x, block.channels, k, name=name, index="1", stride=block.stride)
    y = conv_bn(y, block.channels, k, name=name, index="2", activation=False)
    y = layers.Add(name=f"{name}_add")([_shortcut(x, block, name), y])
    return layers.ReLU(name=f"{name}_out")(y)


def bottleneck_block(x: keras.KerasTensor, block: Block, name: str) -> keras.KerasTensor:
    """1 x 1 down, k x k with the stride, 1 x 1 up to four times the channels; plus shortcut."""
    y = conv_bn(x, block.channels, 1, name=name, index="1")
    k, stride = block.conv_kernel, block.stride
    y = conv_bn(y, block.channels, k, name=name, index="2", stride=stride)
    y = conv_bn(y, block.out_channels, 1, name=name, index="3", activation=False)
    y = layers.Add(name=f"{name}_add")([_shortcut(x, block, name), y])
    return layers.ReLU(name=f"{name}_out")(y)


BLOCKS = {"BB": basic_block, "BN": bottleneck_block}
