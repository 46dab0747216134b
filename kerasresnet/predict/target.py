"""What classifies: an export, a run or a .keras file here, or a server over REST or gRPC."""

from __future__ import annotations

from pathlib import Path

from kerasresnet.errors import UsageError
from kerasresnet.predict.interface import Target


def open_target(
    text: str, *, timeout: float = 30.0, verbose: bool = False, trust: bool = False
) -> Target:
    """Load or reach what `text` names: a path, or an http://, https:// or grpc:// address.

    `timeout` is how many seconds a server may take for one answer, `trust` says to load a file that
    could do more than answer. Only a REST server is spoken to
    without TensorFlow. Raises `UsageError` for something else, `KerasResNetError` where it does
    not load or answer.
    """
    scheme, found, _ = text.partition("://")
    if not found:
        from kerasresnet.predict.local import open_local

        return open_local(Path(text), verbose, trust=trust)
    if scheme in ("http", "https"):
        from kerasresnet.predict.rest import RestServer

        return RestServer(text, timeout)
    if scheme == "grpc":
        from kerasresnet.predict.grpc import GrpcServer

        return GrpcServer(text, timeout, verbose)
    raise UsageError(
        f"a server is http://host:8501/v1/models/NAME or grpc://host:8500/NAME, received {text}"
    )
