"""Muon for convolutions: momentum, then the nearest orthogonal matrix as the step.

Keras' own `Muon` orthogonalises matrices only, and gives convolution kernels Adam's step. Here a
kernel [k, k, in, out] counts as a matrix of k*k*in rows and out columns, and its norm is held
constant, as in K. Jordan's CIFAR-10 speed run (airbench94_muon; arXiv 2404.00498 is its base).
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from kerasresnet.optim.sgd import PyTorchSGD

# Newton-Schulz coefficients of K. Jordan's Muon: singular values go to about 0.7…1.2.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrix: Any, steps: int = 3) -> Any:
    """The orthogonal factor of `matrix` [m, n], roughly: singular values all near 1.

    `steps` quintic Newton-Schulz iterations; see "Muon: an optimizer for hidden layers in neural
    networks" (K. Jordan, 2024).
    """
    rows, columns = matrix.shape
    x = matrix if rows >= columns else ops.transpose(matrix)
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(steps):
        gram = ops.matmul(ops.transpose(x), x)  # the small side: min(m, n) squared
        x = _A * x + ops.matmul(x, _B * gram + _C * ops.matmul(gram, gram))
    return x if rows >= columns else ops.transpose(x)


@keras.saving.register_keras_serializable(package="kerasresnet")
class ConvMuon(PyTorchSGD):
    """Muon for convolution kernels, SGD with momentum for everything else.

    Both take the momentum of `PyTorchSGD`, Nesterov's too. A kernel [k, k, in, out] then moves by
    the orthogonal factor of that, scaled to norm √out, which is also the norm at which the kernel
    itself is held. So the learning rate is the share of itself that a kernel moves in one step
    (0.02…0.1; batch norm takes the scale out again), and decoupled weight decay does nothing to
    it. The rest learns `sgd_ratio` times as fast.
    """

    def __init__(
        self,
        learning_rate: Any = 0.05,
        momentum: float = 0.8,
        nesterov: bool = False,
        sgd_ratio: float = 8.0,
        newton_steps: int = 3,
        name: str = "conv_muon",
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, nesterov, name=name, **settings)
        self.sgd_ratio = sgd_ratio
        self.newton_steps = newton_steps

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        step = self.momentum_step(gradient, variable)
        rate = ops.cast(learning_rate, variable.dtype)
        if len(variable.shape) != 4:
            self.assign_sub(variable, self.sgd_ratio * rate * step)
            return
        out = variable.shape[-1]
        matrix = ops.reshape(step, (-1, out))
        # An orthogonal m x n matrix has norm √min(m, n): scale it to √out.
        scale = math.sqrt(out / min(matrix.shape))
        step = ops.reshape(scale * orthogonalise(matrix, self.newton_steps), variable.shape)
        kernel = ops.convert_to_tensor(variable)
        kernel = kernel * (math.sqrt(out) / (ops.norm(ops.reshape(kernel, -1)) + 1e-7))
        self.assign(variable, kernel - rate * step)

    def get_config(self) -> dict[str, Any]:
        own = {"sgd_ratio": self.sgd_ratio, "newton_steps": self.newton_steps}
        return super().get_config() | own
