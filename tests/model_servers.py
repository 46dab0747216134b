"""Servers on loopback that speak TF Serving's REST and gRPC, each with a real export behind it."""

import base64
import contextlib
import json
import re
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Engine:
    """A loaded export and its signatures' description, which is all that a server has."""

    def __init__(self, path):
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        described = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.signature_defs = dict(described.meta_graphs[0].signature_def)
        self.loaded = tf.saved_model.load(str(path))
        self.requests = []

    def run(self, signature, inputs):
        self.requests.append((signature, len(next(iter(inputs.values())))))
        outputs = self.loaded.signatures[signature](**inputs)
        return {name: value.numpy() for name, value in outputs.items()}


class RestHandler(BaseHTTPRequestHandler):
    """The part of TF Serving's REST interface that a client of one model meets."""

    def do_GET(self):
        from google.protobuf.json_format import MessageToDict

        self.server.stall()
        if not re.fullmatch(r"/v1/models/tiny(/versions/1)?/metadata", self.path):
            return self.answer(404, {"error": "Servable not found for request: Latest(none)"})
        signatures = {
            name: MessageToDict(signature, preserving_proto_field_name=True)
            for name, signature in self.server.engine.signature_defs.items()
        }
        return self.answer(200, {"metadata": {"signature_def": {"signature_def": signatures}}})

    def do_POST(self):
        import tensorflow as tf

        self.server.stall()
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.broken(request):
            return self.answer(503, {"error": "The batch scheduling queue is full"})
        signature = self.server.engine.signature_defs[request["signature_name"]]
        try:
            outputs = self.server.engine.run(
                request["signature_name"],
                {
                    name: tensor_of(value, signature.inputs[name].dtype)
                    for name, value in request["inputs"].items()
                },
            )
        except tf.errors.OpError as error:
            return self.answer(400, {"error": error.message})
        texts = {"label": [label.decode() for label in outputs.pop("label")]}
        return self.answer(200, {"outputs": texts | {k: v.tolist() for k, v in outputs.items()}})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def tensor_of(value, dtype):
    import tensorflow as tf

    if tf.as_dtype(dtype) == tf.string:
        value = [base64.b64decode(item["b64"], validate=True) for item in value]
    return tf.constant(value, dtype)


@contextlib.contextmanager
def rest_server(engine, *, stall=lambda: None, broken=lambda request: False):
    server = ThreadingHTTPServer(("127.0.0.1", 0), RestHandler)
    server.engine, server.stall, server.broken = engine, stall, broken
    server.daemon_threads = False  # no request outlives its server
    server.handle_error = lambda *about: None  # a client that went away
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/models/tiny"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def grpc_server(engine, *, stall=lambda: None):
    """A PredictionService with TF Serving's own protos."""
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc as service

    class Servicer(service.PredictionServiceServicer):
        def check(self, spec, context):
            stall()
            if spec.name != "tiny" or (spec.HasField("version") and spec.version.value != 1):
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: none")

        def GetModelMetadata(self, request, context):
            self.check(request.model_spec, context)
            assert list(request.metadata_field) == ["signature_def"]
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=engine.signature_defs)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.metadata["signature_def"].Pack(signatures)
            return response

        def Predict(self, request, context):
            self.check(request.model_spec, context)
            inputs = {
                name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()
            }
            try:
                outputs = engine.run(request.model_spec.signature_name, inputs)
            except tf.errors.OpError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            return predict_pb2.PredictResponse(
                outputs={name: tf.make_tensor_proto(value) for name, value in outputs.items()}
            )

    server = grpc.server(futures.ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}/tiny"
    finally:
        server.stop(None).wait()
