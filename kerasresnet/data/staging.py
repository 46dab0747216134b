"""A folder for a data set in progress: it becomes the real one by a rename, or it vanishes."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from kerasresnet.disk import is_full, staged
from kerasresnet.errors import KerasResNetError, UsageError


@contextlib.contextmanager
def staging(data_dir: Path, needed_bytes: int) -> Iterator[Path]:
    """An empty folder inside `data_dir`, removed at the end, whatever happens.

    What a killed process left there is never read, and is removed by the next one.

    Raises:
        UsageError: `data_dir` cannot be written to.
        KerasResNetError: fewer than `needed_bytes` are free, or writing fails.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(staged(data_dir, ".incomplete-"))
            free = shutil.disk_usage(data_dir).free
        except OSError as error:
            raise UsageError(
                f"cannot write to the data folder {data_dir} ({error.strerror}); "
                "choose another with --data-dir or TFDS_DATA_DIR"
            ) from error
        if free < needed_bytes:
            raise KerasResNetError(
                f"the data needs {_megabytes(needed_bytes)} in {data_dir}, "
                f"{_megabytes(free)} are free; choose another folder with --data-dir"
            )
        try:
            yield folder
        except OSError as error:
            if is_full(error):
                raise KerasResNetError(
                    f"the disk ran full while the data was written to {data_dir}; "
                    f"free {_megabytes(needed_bytes)} or choose another folder with --data-dir"
                ) from error
            raise KerasResNetError(f"writing the data to {data_dir} failed: {error}") from error


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
