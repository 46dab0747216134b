"""From a run to a file that others serve: a SavedModel for TF Serving, ONNX, LiteRT, OpenVINO."""

from kerasresnet.export.saved_model import export_saved_model

__all__ = ["export_saved_model"]
