"""The network that trains under TensorFlow on a processor: the same one, with faster layers.

`fast_copy` makes it. It has the weights of Keras' own network in the same order and under the same
names, so what is kept, saved and exported is Keras' own, and a run's state fits both.
Import it only where Keras runs on TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import layers

# Where an output has at most so many pixels, matrix products beat oneDNN's weight gradient.
MATMUL_PIXELS = 64
BLOCK = 16  # channels; of a multiple of so many, oneDNN's batch norm is up to 6 times as fast


class BatchNormalization(layers.BatchNormalization):
    """Keras' batch norm over the last axis, by TensorFlow's fused kernel and that of its gradient.

    Keras composes batch norm from about ten operations, each a pass through memory. Training puts
    the unbiased variance into the moving average, as PyTorch does. Images may have any size.
    (Keras' name, as a saved state is found by the names of the layers' classes.)
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        fused, epsilon = tf.compat.v1.nn.fused_batch_norm, self.epsilon
        scale, offset = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        if not (training and self.trainable):
            moving = {"mean": self.moving_mean.value, "variance": self.moving_variance.value}
            return fused(inputs, scale, offset, **moving, epsilon=epsilon, is_training=False)[0]
        channels = inputs.shape[-1]
        missing = -channels % BLOCK
        if missing:
            inputs = tf.pad(inputs, [[0, 0]] * 3 + [[0, missing]])
            scale, offset = (tf.pad(values, [[0, missing]]) for values in (scale, offset))
        outputs, mean, variance = fused(inputs, scale, offset, epsilon=epsilon, is_training=True)
        if missing:  # tf.slice: the gradient of an index is slower than all that it saves
            outputs = tf.slice(outputs, [0, 0, 0, 0], [-1, -1, -1, channels])
            mean, variance = mean[:channels], variance[:channels]
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


class Activation(layers.Activation):
    """Keras' exact GELU, forward and backward in a pass through memory each, by XLA.

    TensorFlow composes it and its gradient from a dozen operations, each a pass.
    (Keras' name, as a saved state is found by the names of the layers' classes.)
    """

    def call(self, inputs: Any) -> Any:
        return _gelu(inputs)


@tf.custom_gradient
def _gelu(inputs: Any) -> Any:
    return _gelu_forward(inputs), lambda outer: _gelu_backward(inputs, outer)


@tf.function(jit_compile=True)
def _gelu_forward(x: Any) -> Any:
    return x * _normal_share(x)


@tf.function(jit_compile=True)
def _gelu_backward(x: Any, outer: Any) -> Any:
    density = tf.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return outer * (_normal_share(x) + x * density)


def _normal_share(x: Any) -> Any:
    """The share of a normal distribution that lies below `x`."""
    return 0.5 * tf.math.erf(x / math.sqrt(2)) + 0.5


class Conv2D(layers.Conv2D):
    """Keras' convolution; where its output is small, its weight gradient is nine matrix products.

    oneDNN's own kernel for that does a quarter to two thirds of what the processor can. Only 3 x 3
    convolutions without bias, with a stride of 1 or 2, to at most `MATMUL_PIXELS` pixels.
    (Keras' name, as a saved state is found by the names of the layers' classes.)
    """

    def call(self, inputs: Any) -> Any:
        if not self.by_matmul(inputs.shape):
            return super().call(inputs)
        return _conv(inputs, tf.convert_to_tensor(self.kernel), self.strides[0], self.padding)

    def by_matmul(self, shape: tf.TensorShape) -> bool:
        """Whether images of `shape` [N, H, W, C] get their weight gradient by matrix products."""
        _, height, width, _ = self.compute_output_shape(tuple(shape))
        return (
            self.kernel_size == (3, 3)
            and self.dilation_rate == (1, 1)
            and (self.strides, self.padding) in (((1, 1), "same"), ((2, 2), "valid"))
            and (self.groups, self.use_bias, self.data_format) == (1, False, "channels_last")
            and bool(height and width and height * width <= MATMUL_PIXELS)
        )


def _conv(images: Any, kernel: Any, stride: int, padding: str) -> Any:
    @tf.custom_gradient
    def conv(images, kernel):
        def gradient(outer):
            inner = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=kernel,
                out_backprop=outer,
                strides=[1, stride, stride, 1],
                padding=padding.upper(),
            )
            return inner, _weight_gradient(images, outer, stride)

        return tf.nn.conv2d(images, kernel, stride, padding.upper()), gradient

    return conv(images, kernel)


def _weight_gradient(images: Any, outer: Any, stride: int) -> Any:
    """The gradient [3, 3, C, D] by the kernel, from `images` [N, H, W, C] and `outer` [N, h, w, D].

    With a stride of 1 images are padded by one pixel here; with 2 they have been before.
    """
    height, width, outputs = outer.shape[1:]
    channels = images.shape[-1]
    # How the inputs that one weight meets lie beside each other: by their remainder modulo stride.
    if stride == 1:
        phases = {(0, 0): tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])}
    else:
        rows, columns = (-(-size // 2) for size in images.shape[1:3])
        odd = [[0, size % 2] for size in images.shape[1:3]]
        # Not by strided slices, which are ten times as slow.
        even = tf.reshape(tf.pad(images, [[0, 0], *odd, [0, 0]]), (-1, 2, columns, 2 * channels))
        phases = {
            (i, j): tf.reshape(
                tf.slice(even, [0, i, 0, j * channels], [-1, 1, -1, channels]),
                (-1, rows, columns, channels),
            )
            for i in (0, 1)
            for j in (0, 1)
        }
    flat = tf.reshape(outer, (-1, outputs))

    def product(i: int, j: int) -> Any:
        phase = phases[i % stride, j % stride]
        met = tf.slice(phase, [0, i // stride, j // stride, 0], [-1, height, width, channels])
        return tf.matmul(tf.reshape(met, (-1, channels)), flat, transpose_a=True)

    products = [product(i, j) for i in range(3) for j in range(3)]
    return tf.reshape(tf.stack(products), (3, 3, channels, outputs))


class Halves(keras.Model):
    """A network that takes the two halves of a batch separately, on a core each.

    In training each half is normalised by its own statistics ("ghost batch norm", arXiv
    1705.08741). Of an odd batch the image in the middle is in both halves, and counts once.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        images = tf.shape(inputs)[0]
        first = super().call(inputs[: (images + 1) // 2], training=training)
        second = super().call(inputs[images // 2 :], training=training)
        return tf.concat([first, second[images % 2 :]], axis=0)


def fast_copy(network: keras.Model, *, halves: bool = False) -> keras.Model:
    """`network` with its weights, in layers that train faster; with `halves`, in two of them.

    The moving statistics then move twice a step, each time by less: after a step they keep the
    share of their past that `network`'s batch norms say.
    """

    def replace(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if type(layer) is layers.BatchNormalization:
            if halves:
                config["momentum"] **= 0.5
            return BatchNormalization.from_config(config)
        if type(layer) is layers.Conv2D:
            return Conv2D.from_config(config)
        if type(layer) is layers.Activation and layer.activation is keras.activations.gelu:
            return Activation.from_config(config)
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=replace)
    copy.set_weights(network.get_weights())
    return in_halves(copy) if halves else copy


def in_halves(network: keras.Model) -> keras.Model:
    """The same layers and weights, fed by halves of a batch: results differ in training only."""
    return Halves(network.inputs, network.outputs[0], name=network.name)
