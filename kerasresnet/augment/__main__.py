"""Draw what the augmentations do, as one picture.

python -m kerasresnet.augment --out sheet.png
python -m kerasresnet.augment --out sheet.png --data digits
python -m kerasresnet.augment --out sheet.png --augment crop flip "randaugment(n=2, m=14)"
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kerasresnet.augment.policy import parse_step
from kerasresnet.command import exit_on_error, parse
from kerasresnet.data.options import DataOptions
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.machine import quiet_tensorflow


@dataclass(frozen=True)
class SheetOptions(DataOptions):
    """A contact sheet of every operation at three strengths, and of whole policies."""

    out: Path
    """The picture to write, a .png file."""
    augment: tuple[str, ...] = ()
    """Steps of a policy of your own, shown in the last row."""
    seed: int = 0
    """Seed of the choice of images and of the policies."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def check_options(options: SheetOptions) -> None:
    """Raise `UsageError` for what can be refused before any image is loaded."""
    if options.out.suffix.lower() != ".png":
        raise UsageError(f"--out is a .png file, received {options.out}")
    if not options.out.absolute().parent.is_dir():
        raise UsageError(f"--out lies in a folder that exists, received {options.out}")
    for step in options.augment:
        parse_step(step)
    options.request()


def write_sheet(options: SheetOptions) -> None:
    """Draw the sheet of some test images and write it to `options.out`."""
    import numpy as np

    from kerasresnet.augment.sheet import COLUMNS, POLICIES, draw_sheet

    images = options.request().load(options.data_dir).x_test
    rng = np.random.default_rng(options.seed)
    chosen = rng.choice(len(images), COLUMNS, replace=len(images) < COLUMNS)
    own = (options.augment,) if options.augment else ()
    sheet = draw_sheet(images[chosen], policies=(*POLICIES, *own), seed=options.seed)
    try:
        sheet.save(options.out)
    except OSError as error:
        raise KerasResNetError(f"cannot write {options.out}: {error.strerror}") from None
    print(f"{options.out}: {sheet.width}×{sheet.height} pixels, images of {options.data}")


def main() -> None:
    with exit_on_error("kerasresnet.augment"):
        options = parse(SheetOptions, None, prog="python -m kerasresnet.augment")
        check_options(options)
        quiet_tensorflow(options.verbose)
        write_sheet(options)


if __name__ == "__main__":
    main()
