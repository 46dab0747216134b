"""SGD with momentum, by PyTorch's rule."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class PyTorchSGD(keras.optimizers.SGD):
    """SGD as `torch.optim.SGD`: the learning rate scales the buffer when the step is taken.

    buffer ← momentum · buffer + g; w ← w − lr · buffer, or with Nesterov's step
    w ← w − lr · (g + momentum · buffer). Keras' buffer holds lr · g of each past step instead.
    """

    def momentum_step(self, gradient: Any, variable: Any) -> Any:
        """The direction that `variable` is to move against, its buffer brought up to date."""
        step = ops.cast(gradient, variable.dtype)
        if self.momentums:
            momentum = ops.cast(self.momentum, variable.dtype)
            buffer = self.momentums[self._get_variable_index(variable)]
            self.assign(buffer, momentum * buffer + step)
            step = step + momentum * buffer if self.nesterov else buffer
        return step

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        step = self.momentum_step(gradient, variable)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * step)
