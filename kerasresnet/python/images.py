"""Images as a caller names or gives them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kerasresnet.data.images import ImageData
from kerasresnet.data.request import DataRequest
from kerasresnet.errors import UsageError, quoted

if TYPE_CHECKING:
    from pathlib import Path

    Data = ImageData | DataRequest | str | Path


def asked_for(data: Data) -> tuple[DataRequest, ImageData | None]:
    """What would load `data` again, and the images themselves where they are given.

    Raises `UsageError` for an unknown name, or for something else.
    """
    if isinstance(data, ImageData):
        return DataRequest(data.name, given=True), data
    if isinstance(data, DataRequest):
        return data, None
    if isinstance(data, str | os.PathLike):
        return DataRequest.parse(os.fspath(data)), None
    raise UsageError(
        "data is an ImageData, a DataRequest, the name of a data set or a path, received "
        f"{quoted(data, 60)}"
    )
