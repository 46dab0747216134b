"""Cross-entropy of logits for labels in both of their forms."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="kerasresnet")
class LabelCrossentropy(keras.losses.CategoricalCrossentropy):
    """`CategoricalCrossentropy` that takes integer labels [B] or [B, 1] beside one-hot [B, K].

    So a data set of Keras' own (`image_dataset_from_directory`, say) needs no other loss, and
    label smoothing works on it, which `SparseCategoricalCrossentropy` lacks.
    """

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        if len(y_true.shape) < len(y_pred.shape) or (y_true.shape[-1] == 1 and classes != 1):
            flat = keras.ops.reshape(y_true, keras.ops.shape(y_pred)[:-1])
            y_true = keras.ops.one_hot(keras.ops.cast(flat, "int32"), classes, dtype=y_pred.dtype)
        return super().call(y_true, y_pred)
