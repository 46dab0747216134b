"""Muon for convolutions does what its docstring says, on kernels and on the rest."""

import keras
import numpy as np
import pytest

from kerasresnet.optim.muon import ConvMuon, orthogonalise


@pytest.mark.parametrize("shape", [(27, 16), (16, 27), (64, 64)])
def test_orthogonalise_brings_all_singular_values_near_one(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype("float32")
    before = np.linalg.svd(matrix, compute_uv=False)
    values = np.linalg.svd(np.array(orthogonalise(matrix, steps=8)), compute_uv=False)
    assert before.max() / before.min() > 3
    assert values.min() > 0.6 and values.max() < 1.3


def reference(gradients, kernel, rates, momentum, nesterov, steps):
    """ConvMuon on one kernel, in NumPy float64."""
    out = kernel.shape[-1]
    buffer = np.zeros_like(kernel)
    for gradient, rate in zip(gradients, rates, strict=True):
        buffer = momentum * buffer + gradient
        step = gradient + momentum * buffer if nesterov else buffer
        matrix = step.reshape(-1, out)
        tall = matrix.shape[0] >= out
        x = matrix if tall else matrix.T
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(steps):
            gram = x.T @ x
            x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
        x = x if tall else x.T
        x = x * np.sqrt(out / min(x.shape))
        kernel = kernel * np.sqrt(out) / np.linalg.norm(kernel) - rate * x.reshape(kernel.shape)
    return kernel


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 3, 8)])
def test_kernels_follow_the_reference_over_50_steps(shape, nesterov):
    rng = np.random.default_rng(1)
    start, gradients = rng.normal(size=shape), rng.normal(size=(50, *shape))
    rates = np.linspace(0.01, 0.1, 50)
    kernel = keras.Variable(start.astype("float32"))
    optimizer = ConvMuon(0.1, momentum=0.8, nesterov=nesterov)
    optimizer.build([kernel])
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype("float32"))], [kernel])
    expected = reference(gradients, start, rates, 0.8, nesterov, steps=3)
    np.testing.assert_allclose(np.array(kernel), expected, atol=2e-4)


def test_everything_else_takes_sgd_at_its_own_rate():
    bias = keras.Variable(np.ones(4, "float32"))
    optimizer = ConvMuon(0.05, momentum=0.5, sgd_ratio=2.0)
    optimizer.build([bias])
    for _ in range(2):
        optimizer.apply([keras.ops.ones(4)], [bias])
    # Buffers 1 and 1.5, each times 2 x 0.05.
    np.testing.assert_allclose(np.array(bias), 1 - 0.1 * (1 + 1.5), rtol=1e-6)


def test_config_round_trip():
    optimizer = ConvMuon(0.03, momentum=0.7, nesterov=True, sgd_ratio=5.0, newton_steps=4)
    again = ConvMuon.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
