"""TF Serving's REST interface: JSON over HTTP, no TensorFlow here."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import requests

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.predict import interface
from kerasresnet.predict.interface import Answer, Refused

_ADDRESS = re.compile(
    r"(https?://[^/?#]+(?:/[^?#]+)?/v1/models/[^/:?#]+(?:/(?:versions|labels)/[^/:?#]+)?)"
)

# Those of one request; any other says that the server, or what stands before it, is in trouble.
_REFUSALS = (400, 413, 422)


class RestServer:
    """A model of a server, http://host:8501/v1/models/NAME, with /versions/N or /labels/LABEL.

    Sends columns (`inputs`), which are shorter than rows; bytes as base64.
    """

    class_names = None

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        """Ask for the model's signatures. Raises `UsageError` for a URL that names no model,
        `KerasResNetError` where the server does not answer or serves no such model.
        """
        matched = _ADDRESS.fullmatch(url.rstrip("/").removesuffix(":predict"))
        if not matched:
            raise UsageError(
                f"a model's address is http://host:8501/v1/models/NAME, received {url}"
            )
        self.name = self._url = matched[1]
        self._timeout = timeout
        self._session = requests.Session()
        signatures = _signatures_in(self._ask("GET", "/metadata"))
        if signatures is None:
            raise KerasResNetError(f"{self.name} answers, but not as TF Serving does")
        self.image_shape, self.takes_bytes = interface.read_signatures(self.name, signatures)

    def predict(self, images: np.ndarray | list[bytes]) -> Answer:
        if isinstance(images, list):
            column = [{"b64": base64.b64encode(contents).decode()} for contents in images]
            body = {"signature_name": interface.BYTES, "inputs": {interface.BYTES_INPUT: column}}
        else:
            body = {
                "signature_name": interface.PIXELS,
                "inputs": {interface.PIXELS_INPUT: images.tolist()},
            }
        outputs = self._ask("POST", ":predict", body).get("outputs")
        try:
            return Answer(np.array(outputs["probabilities"], np.float64), outputs.get("label"))
        except (TypeError, KeyError, ValueError, AttributeError):
            raise KerasResNetError(f"{self.name} answers, but without probabilities") from None

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            # A redirected POST would become a GET.
            answer = self._session.request(
                method, self._url + path, json=body, timeout=self._timeout, allow_redirects=False
            )
        except requests.Timeout:
            raise interface.too_slow(self.name, self._timeout) from None
        except requests.RequestException as error:
            raise interface.unreachable(self.name, _innermost(error)) from None
        return self._checked(answer, refusable=method == "POST")

    def _checked(self, answer: requests.Response, *, refusable: bool) -> dict[str, Any]:
        try:
            content = answer.json()
        except ValueError:
            content = None
        said = content.get("error") if isinstance(content, dict) else None
        reason = interface.reason_in(str(said or answer.reason or ""))
        if refusable and answer.status_code in _REFUSALS:
            raise Refused(reason)
        if answer.status_code == 404:
            raise KerasResNetError(f"the server has no such model at {self.name}: 404, {reason}")
        if answer.status_code != 200:
            raise KerasResNetError(f"{self.name} answers {answer.status_code}, {reason}")
        if not isinstance(content, dict):
            raise KerasResNetError(f"{self.name} answers, but not with JSON as TF Serving does")
        return content


def _signatures_in(metadata: dict[str, Any]) -> dict[str, dict[str, tuple[int, ...]]] | None:
    """The shapes of every signature's inputs, or None where this is no server's metadata."""
    try:
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        return {
            name: {
                key: tuple(int(dim["size"]) for dim in tensor["tensor_shape"].get("dim", ()))
                for key, tensor in signature.get("inputs", {}).items()
            }
            for name, signature in signatures.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _innermost(error: BaseException) -> str:
    """What the system said, out of the layers that requests and urllib3 put around it."""
    while isinstance(
        inner := getattr(error, "reason", None) or next(iter(error.args), None), Exception
    ):
        error = inner
    said = getattr(error, "strerror", None) or str(error).rsplit(": ", 1)[-1]
    return re.sub(r"\[Errno -?\d+\] ", "", said)
