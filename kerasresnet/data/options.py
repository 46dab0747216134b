"""The flags that say which images, the same for every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kerasresnet.data.catalog import DATASETS
from kerasresnet.data.request import DataRequest
from kerasresnet.errors import UsageError

LARGEST = 4_096  # pixels of a side
_WHICH = (
    f"{', '.join(DATASETS)}; a folder of class folders; a .csv or .parquet of path and label; or "
    "tfds:NAME[:CONFIG]. digits needs no network."
)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What the flags of a command say of its images."""

    data: Annotated[str, tyro.conf.arg(metavar="NAME|PATH|tfds:NAME", help=_WHICH)] = "cifar10"
    image_size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """Scale every image to so many pixels a side (default: the network's, else 32)."""
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    """What becomes of pictures that cannot be read: nothing starts, or they are left out."""
    split_seed: int = 0
    """Which pictures are set aside to test, where the data is not divided."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Decoded pictures too many for memory are kept there as well (default: ~/.cache/kerasresnet).
    """

    def request(self, data: str | None = None) -> DataRequest:
        """The images that are asked for (`data` in place of --data). Raises `UsageError`."""
        if self.image_size is not None and not 1 <= self.image_size <= LARGEST:
            raise UsageError(f"--image-size is 1 to {LARGEST} pixels, received {self.image_size}")
        if not 0 <= self.split_seed < 2**31:
            raise UsageError(f"--split-seed is 0 to {2**31 - 1}, received {self.split_seed}")
        return DataRequest.parse(
            self.data if data is None else data,
            size=(self.image_size, self.image_size) if self.image_size else None,
            on_bad_image=self.on_bad_image,
            split_seed=self.split_seed,
        )
