"""TF Serving's gRPC interface, with the protos of tensorflow-serving-api."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

import numpy as np

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.predict import interface
from kerasresnet.predict.interface import Answer, Refused

_ADDRESS = re.compile(r"grpc://([^/]+:\d+)/([^/]+)(?:/versions/(\d+)|/labels/([^/]+))?/?")


class GrpcServer:
    """A model of a server, grpc://host:8500/NAME, with /versions/N or /labels/LABEL behind it."""

    class_names = None

    def __init__(self, url: str, timeout: float = 30.0, verbose: bool = False) -> None:
        """Ask for the model's signatures. Raises `UsageError` for an address that names no model
        or a missing package, `KerasResNetError` where the server does not answer or serves no
        such model.
        """
        matched = _ADDRESS.fullmatch(url)
        if not matched:
            raise UsageError(f"a model's address is grpc://host:8500/NAME, received {url}")
        address, self._model, version, label = matched.groups()
        self.name, self._timeout = url, timeout
        self._version = {"version": {"value": int(version)}} if version else {}
        self._version |= {"version_label": label} if label else {}
        if importlib.util.find_spec("tensorflow_serving") is None:
            raise UsageError(
                "grpc:// needs a package that is not installed: type pip install "
                "tensorflow-serving-api, or give the server's http:// address"
            )
        if not verbose:
            os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        quiet_tensorflow(verbose)  # the protos import all of TensorFlow
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.image_shape, self.takes_bytes = interface.read_signatures(
            self.name, self._signatures()
        )

    def _signatures(self) -> dict[str, dict[str, tuple[int, ...]]]:
        from tensorflow_serving.apis import get_model_metadata_pb2 as metadata_pb2

        request = metadata_pb2.GetModelMetadataRequest(
            model_spec={"name": self._model, **self._version}, metadata_field=["signature_def"]
        )
        answer = self._ask(self._stub.GetModelMetadata, request)
        signatures = metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            name: {
                key: tuple(dim.size for dim in tensor.tensor_shape.dim)
                for key, tensor in signature.inputs.items()
            }
            for name, signature in signatures.signature_def.items()
        }

    def predict(self, images: np.ndarray | list[bytes]) -> Answer:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        of_bytes = isinstance(images, list)
        spec = {
            "name": self._model,
            **self._version,
            "signature_name": interface.BYTES if of_bytes else interface.PIXELS,
        }
        request = predict_pb2.PredictRequest(model_spec=spec)
        request.inputs[interface.BYTES_INPUT if of_bytes else interface.PIXELS_INPUT].CopyFrom(
            tf.make_tensor_proto(images)
        )
        outputs = self._ask(self._stub.Predict, request, refusable=True).outputs
        if "probabilities" not in outputs:
            raise KerasResNetError(f"{self.name} answers, but without probabilities")
        names = None
        if "label" in outputs:
            names = [name.decode() for name in tf.make_ndarray(outputs["label"])]
        return Answer(tf.make_ndarray(outputs["probabilities"]), names)

    def _ask(self, method: Any, request: Any, *, refusable: bool = False) -> Any:
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, reason = error.code(), interface.reason_in(error.details() or "")
        if refusable and code == grpc.StatusCode.INVALID_ARGUMENT:
            raise Refused(reason)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise interface.too_slow(self.name, self._timeout)
        if code == grpc.StatusCode.UNAVAILABLE:
            raise interface.unreachable(self.name, reason.rsplit(": ", 1)[-1])
        if code == grpc.StatusCode.NOT_FOUND:
            raise KerasResNetError(f"the server has no such model at {self.name}: {reason}")
        raise KerasResNetError(f"{self.name} answers {code.name}, {reason}")
