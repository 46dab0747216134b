"""Write a data set as a folder of PNG files, a folder for each class: what `--data PATH` reads.

python -m kerasresnet.data pictures --per-class 200
python -m kerasresnet.data digits/ --data digits
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from kerasresnet.command import exit_on_error, parse
from kerasresnet.data.options import DataOptions
from kerasresnet.disk import cannot_write, staged
from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow

if TYPE_CHECKING:
    from kerasresnet.data import ImageData


@dataclass(frozen=True)
class PicturesOptions(DataOptions):
    """Write the images of a data set as PNG files: OUT/train/<class>/0001.png, OUT/test/…"""

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make; it must not exist."""
    per_class: int | None = None
    """Training images of each class, and a fifth as many to test (default: all)."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: PicturesOptions) -> None:
    """Raise `UsageError` for what can be refused before any image is loaded."""
    options.request()
    if options.out.exists():
        raise UsageError(f"{options.out} exists already; choose another folder")
    if not options.out.absolute().parent.is_dir():
        raise UsageError(f"{options.out} must lie in a folder that exists")
    if options.per_class is not None and options.per_class < 2:
        raise UsageError(f"--per-class is 2 or more, received {options.per_class}")


def write_pictures(data: ImageData, out: Path, per_class: int | None = None) -> int:
    """Write `data` to `out`, whole or not at all; returns the number of pictures.

    Raises `KerasResNetError` where there is no room for it, or no right to write.
    """
    tested = None if per_class is None else max(1, per_class // 5)
    try:
        with staged(out.absolute().parent, ".incomplete-pictures-") as aside:
            count = _write_part(
                aside / "train", data.x_train, data.y_train, data.class_names, per_class
            )
            count += _write_part(aside / "test", data.x_test, data.y_test, data.class_names, tested)
            os.rename(aside, out)  # not synced first: it can be made again
    except OSError as error:
        raise cannot_write(out, error) from None
    return count


def _write_part(
    folder: Path, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], most
) -> int:
    from PIL import Image

    count = 0
    for label, name in enumerate(class_names):
        (folder / name).mkdir(parents=True)
        for place in np.flatnonzero(labels == label)[:most]:
            image = Image.fromarray(np.squeeze(images[place]))
            image.save(folder / name / f"{place:05}.png")
            count += 1
    return count


def main() -> None:
    with exit_on_error("kerasresnet.data"):
        options = parse(PicturesOptions, None, prog="python -m kerasresnet.data")
        check_options(options)
        if options.data != "digits":
            quiet_tensorflow(options.verbose)
        data = options.request().load(options.data_dir)
        count = write_pictures(data, options.out, options.per_class)
        print(f"{options.out}: {count:,} PNG files of {data.name} in {data.num_classes} classes")


if __name__ == "__main__":
    main()
