"""Post-training quantisation of a LiteRT file: int8 weights and activations.

Weights get a range for each output channel, activations one for each tensor, as they were seen on
the calibration images (Jacob et al., arXiv 1712.05877).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def quantise(path: Path, images: np.ndarray, *, batch_size: int = 64) -> bytes:
    """The int8 network of the float32 LiteRT file at `path`, calibrated on `images`.

    Input and output keep their types and meaning: uint8 images in, float32 probabilities out.
    """
    from ai_edge_quantizer import qtyping, recipe
    from ai_edge_quantizer.quantizer import AlgorithmName, Quantizer

    quantizer = Quantizer(str(path), recipe.static_wi8_ai8())
    # 256 steps are too few for the rescaled pixels' product and sum, and for probabilities.
    in_float32 = (
        (".*rescaling.*", qtyping.TFLOperationName.MUL),
        (".*rescaling.*", qtyping.TFLOperationName.ADD),
        (".*", qtyping.TFLOperationName.SOFTMAX),
        (".*", qtyping.TFLOperationName.OUTPUT),
    )
    for layer, operation in in_float32:
        quantizer.update_quantization_recipe(
            layer, operation, algorithm_key=AlgorithmName.NO_QUANTIZE
        )
    batches = [{"images": images[i : i + batch_size]} for i in range(0, len(images), batch_size)]
    ranges = quantizer.calibrate({"serving_default": batches})
    return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)
