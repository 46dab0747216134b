"""Batch norm folded into the convolution before it: the same function, fewer operations."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import keras
import numpy as np


def fold_batch_norm(
    model: keras.Model, precision: Literal["float32", "bfloat16"] = "float32"
) -> keras.Model:
    """A copy of a functional `model` for inference, without batch norms where they can be folded.

    A convolution whose only consumer is a batch norm takes over its scale and offset:
    W' = W · γ/√(σ² + ε), b' = β − μ · γ/√(σ² + ε). So does one before a max-pool, where no scale is
    negative: the largest value stays the largest. Logits are equal to rounding in float32. In
    bfloat16 convolutions hold their weights and compute in it, with all that lies between;
    normalisation and head stay float32.
    """
    folded = _folded_pairs(model)
    convolutions = {conv.name: norm for norm, conv in folded.items()}
    norms = {norm.name for norm in folded}

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        stays = isinstance(layer, keras.layers.Normalization | keras.layers.Dense)
        config["dtype"] = precision if not stays else "float32"
        if layer.name in convolutions:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: keras.Layer, x, *args, **settings):
        return x if layer.name in norms else layer(x, *args, **settings)

    found = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in found.layers:
        if layer.name in convolutions:
            layer.set_weights(_with(model.get_layer(layer.name), convolutions[layer.name]))
        elif layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return found


def _folded_pairs(model: keras.Model) -> dict[keras.Layer, keras.Layer]:
    """Each batch norm that follows a convolution whose output nobody else uses."""
    layers = [each for each in model.layers if not isinstance(each, keras.layers.InputLayer)]
    users = Counter(id(tensor) for each in layers for tensor in keras.tree.flatten(each.input))
    makers = {id(layer.output): layer for layer in layers}
    pairs = {}
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            source = makers.get(id(layer.input))
            alone = users[id(layer.input)] == 1
            if isinstance(source, keras.layers.MaxPooling2D) and _keeps_order(layer):
                source = makers.get(id(source.input))
            if alone and isinstance(source, keras.layers.Conv2D) and users[id(source.output)] == 1:
                pairs[layer] = source
    return pairs


def _keeps_order(norm: keras.layers.BatchNormalization) -> bool:
    """Whether a larger input always gives a larger output."""
    return norm.gamma is None or bool(keras.ops.all(keras.ops.convert_to_tensor(norm.gamma) >= 0))


def _with(conv: keras.layers.Conv2D, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of the convolution that does the work of both; summed up in float64."""

    def of(variable: keras.Variable | None, default: float) -> np.ndarray:
        if variable is None:
            return np.float64(default)
        return keras.ops.convert_to_numpy(variable).astype("float64")

    mean, variance = of(norm.moving_mean, 0), of(norm.moving_variance, 1)
    scale = of(norm.gamma, 1) / np.sqrt(variance + norm.epsilon)
    bias = of(conv.bias if conv.use_bias else None, 0)
    kernel = of(conv.kernel, 0) * scale
    return [kernel.astype("float32"), (of(norm.beta, 0) + (bias - mean) * scale).astype("float32")]
