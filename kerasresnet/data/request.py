"""What images are asked for: all that must be known to load the same ones again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from kerasresnet.data.catalog import CATALOG, DataSet, own_loader, row_of
from kerasresnet.errors import UsageError

if TYPE_CHECKING:
    from kerasresnet.data.images import ImageData

TFDS = "tfds:"
TABLES = (".csv", ".parquet")
DEFAULT_SIZE = (32, 32)
SMALL = 5_000  # training images below which a data set of no row starts from the recipe `small`


class Peek(NamedTuple):
    """What is known of a data set before its images are loaded."""

    classes: int
    channels: int
    train_images: int | None


@dataclass(frozen=True)
class DataRequest:
    """A data set and how its images are made to fit.

    `data` is a name of the catalogue, `tfds:NAME[:CONFIG]`, or an absolute path. `size` is
    (height, width); None leaves a catalogue's images as they come, and makes others 32 x 32.
    `given` says that a program gave the images, which only it can load again: `data` is what it
    called them.
    """

    data: str = "cifar10"
    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None  # None: as they come
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    split_seed: int = 0
    given: bool = False

    @classmethod
    def parse(cls, text: str, **settings: Any) -> Self:
        """What `--data` says. Raises `UsageError`, with the nearest name, for an unknown one."""
        if text.startswith(TFDS):
            if not re.fullmatch(r"tfds:[\w.-]+([:/][\w.+-]+)?", text):
                raise UsageError(f"a set of TFDS is tfds:NAME or tfds:NAME:CONFIG, received {text}")
            return cls(text.replace("/", ":"), **settings)
        if text in CATALOG:
            return cls(text, **settings)
        path = Path(text).expanduser()
        is_path = os.sep in text or text.startswith((".", "~")) or path.suffix.lower() in TABLES
        if not is_path and not os.path.exists(path):
            row_of(text)  # raises
        if not os.path.exists(path):
            raise UsageError(
                f"{text} does not exist, or lies in a folder that may not be read; --data takes a "
                "path that does"
            )
        found = str(path.absolute())
        if found != found.encode("utf-8", "replace").decode():
            raise UsageError(
                f"the path {found!a} is no UTF-8, and a run could not write it down; rename it"
            )
        return cls(found, **settings)

    @classmethod
    def from_facts(cls, data: str, settings: Mapping[str, Any] | None = None) -> Self:
        """What a run, an export, a search or a study has written down of its data."""
        found = {n: v for n, v in dict(settings or {}).items() if v is not None}
        found.pop("fingerprint", None)
        if "size" in found:
            found["size"] = tuple(found["size"])
        return cls(data, **found)

    def to_facts(self, data: ImageData | None = None) -> dict[str, Any]:
        """`from_facts` gives an equal request back; of a catalogue's data as it comes its name.

        With the `data` that was loaded, `load_again` finds out whether it is still the same.
        """
        names = ("size", "channels", "on_bad_image", "split_seed", "given")
        fields = {n: getattr(self, n) for n in names}
        settings = {n: v for n, v in fields.items() if v != getattr(DataRequest, n)}
        if "size" in settings:
            settings["size"] = list(self.size)
        if data is not None and data.fingerprint:
            settings["fingerprint"] = data.fingerprint
        return {"data": self.data, "data_settings": settings or None}

    def flags(self) -> list[str]:
        """What to type for these images, beside --data-dir; nothing for CIFAR-10 as it comes."""
        flags = [] if self.data == "cifar10" else ["--data", self.data]
        if self.size and self.size != DEFAULT_SIZE and self.size[0] == self.size[1]:
            flags += ["--image-size", str(self.size[0])]
        if self.on_bad_image != "refuse":
            flags += ["--on-bad-image", self.on_bad_image]
        return flags + (["--split-seed", str(self.split_seed)] if self.split_seed else [])

    @property
    def row(self) -> DataSet | None:
        """The catalogue's row, where it has one."""
        return None if self.given else CATALOG.get(self.data)

    @property
    def slug(self) -> str:
        """A short name for files and models: ASCII letters, digits, dots, dashes."""
        if self.row:
            return self.data
        last = self.data.removeprefix(TFDS) if self.data.startswith(TFDS) else Path(self.data).stem
        return re.sub(r"[^A-Za-z0-9_.]+", "-", last).strip("-_.")[:40] or "images"

    @property
    def keeps_size(self) -> bool:
        """Whether the images stay as they come unless another size is asked for."""
        return self.row is not None and self.row.image_shape[:2] == DEFAULT_SIZE

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width that `load` gives the images."""
        return self.size or DEFAULT_SIZE

    def for_input(self, shape: tuple[int, int, int]) -> Self:
        """The request for a network that takes `shape`: its size, where none was asked for.

        Its channels as well, unless they may as well be a default. A catalogue's images that have
        the default size stay as they come.
        """
        if self.keeps_size:
            return self
        size = self.size or tuple(shape[:2])
        if self.row or self.data.startswith(TFDS) or tuple(shape) == (*DEFAULT_SIZE, 3):
            return replace(self, size=size)
        return replace(self, size=size, channels=shape[2] if shape[2] in (1, 3) else None)

    def peek(self, data_dir: str | Path | None = None) -> Peek:
        """Classes, channels and number of training images, without loading them.

        Raises `UsageError` as `load` does for what can be found out so early.
        """
        if self.row:
            row = self.row
            return Peek(row.classes, self.channels or row.image_shape[2], row.train_images)
        if self.data.startswith(TFDS):
            from kerasresnet.data.tfds import peek_tfds

            classes, channels, count = peek_tfds(self._tfds_name, data_dir)
        else:
            from kerasresnet.data.pictures import peek_pictures

            classes, channels, count = peek_pictures(Path(self.data))
        return Peek(classes, self.channels or channels, count)

    def default_recipe(self) -> str:
        """The recipe to start from where none is named."""
        if self.row:
            return self.row.recipe
        if self.data.startswith(TFDS):
            return "quick"  # to know more, TFDS would have to be loaded
        from kerasresnet.data.pictures import list_pictures

        count = len(list_pictures(Path(self.data)).parts["train"][0])
        return "small" if count < SMALL else "quick"

    def load(self, data_dir: str | Path | None = None, *, verbose: bool = True) -> ImageData:
        """All images and labels. Raises as `kerasresnet.data.load_data` does."""
        if self.given:
            raise UsageError(
                f"the images called {self.data} were given from Python, and no file says where "
                "they are; give them again as data=, or name a data set with --data"
            )
        if self.row and self.row.loader:
            from kerasresnet.data.resize import resize_all

            data = own_loader(self.row)(data_dir, verbose=verbose)
            return resize_all(data, self.size) if self.size else data
        if self.row or self.data.startswith(TFDS):
            from kerasresnet.data.tfds import load_tfds

            return load_tfds(
                self._tfds_name,
                self.shown_size,
                data_dir=data_dir,
                split_seed=self.split_seed,
                name=self.data,
                verbose=verbose,
            )
        from kerasresnet.data.pictures import load_pictures

        return load_pictures(
            Path(self.data),
            self.shown_size,
            channels=self.channels,
            on_bad_image=self.on_bad_image,
            split_seed=self.split_seed,
            data_dir=data_dir,
            verbose=verbose,
        )

    @property
    def fetched_as(self) -> str | None:
        """The folder of TFDS that a first use fetches; None where there is nothing to fetch."""
        if self.row:
            return self.row.tfds
        return self._tfds_name if self.data.startswith(TFDS) and not self.given else None

    @property
    def _tfds_name(self) -> str:
        return self.row.tfds if self.row else self.data.removeprefix(TFDS).replace(":", "/")


def load_data(
    name: str = "cifar10", data_dir: str | Path | None = None, *, verbose: bool = True
) -> ImageData:
    """All images and labels that `name` asks for: in memory, or pictures too many for it in a file.

    `name` is a data set of the catalogue, `tfds:NAME[:CONFIG]`, or the path of a folder, a .csv or
    a .parquet; `kerasresnet.data.DataRequest` says size and split as well. `cifar10` is read from
    `data_dir`, or else from the folder in the variable TFDS_DATA_DIR, or else from
    `~/tensorflow_datasets`; where it is not prepared yet, it is downloaded first. `digits` is part
    of scikit-learn and needs neither a network nor a folder.

    Raises:
        UsageError: an unknown name, pictures that cannot be used, or a folder that cannot be
            written to.
        KerasResNetError: no source of the images answered, or the disk is full.
    """
    return DataRequest.parse(name).load(data_dir, verbose=verbose)


def load_again(
    data: str,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    *,
    verbose: bool = True,
) -> ImageData:
    """The images that a run was trained on, by its facts `data` and `data_settings`.

    Raises `UsageError` where they are no longer those.
    """
    found = DataRequest.from_facts(data, settings).load(data_dir, verbose=verbose)
    before = (settings or {}).get("fingerprint")
    if before and before != found.fingerprint:
        raise UsageError(
            f"{data} no longer holds the pictures that this was trained on: some were "
            "added, removed or moved, and those to test could be among those it has seen; restore "
            "them, or train anew"
        )
    return found
