"""States to go on from: weights and optimizer after an epoch, each with its checksum.

    state-0007.weights.h5     weights and optimizer after epoch 7
    average-0007.weights.h5   the averaged weights, where the recipe averages
    state-0007.json           their checksums, and the metrics of epochs 1 to 7; written last

The two newest are kept: where one is damaged, a run goes on from the other.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasresnet.disk import checksum, write_bytes, write_json
from kerasresnet.errors import KerasResNetError
from kerasresnet.run.record import Row, StateRecord, read_record

KEPT = 2


class _InMemory(io.BytesIO):
    """A file in memory for Keras, which looks at the end of its name.

    A process whose HDF5 file cannot be flushed on a full disk dies of a segmentation fault; bytes
    that cannot be written are an error like any other.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def weights_file(model: Any) -> bytes:
    """The `.weights.h5` file of a Keras model, its optimizer included where it is compiled."""
    file = _InMemory("model.weights.h5")
    model.save_weights(file)
    return file.getvalue()


def model_file(model: Any) -> bytes:
    """The `.keras` file of a Keras model."""
    file = _InMemory("model.keras")
    model.save(file)
    return file.getvalue()


@dataclass(frozen=True)
class State:
    """The files of one state in the directory of a run."""

    folder: Path
    epoch: int

    @property
    def weights(self) -> Path:
        return self.folder / f"state-{self.epoch:04d}.weights.h5"

    @property
    def average(self) -> Path:
        return self.folder / f"average-{self.epoch:04d}.weights.h5"

    @property
    def record(self) -> Path:
        return self.folder / f"state-{self.epoch:04d}.json"

    def write(self, weights: bytes, average: bytes | None, rows: list[Row]) -> None:
        """Write all of its files, then remove all but the newest states."""
        # The average first: weights without it, of a kill between the two, would be a dead end.
        files = {} if average is None else {self.average: average}
        files[self.weights] = weights
        for path, content in files.items():
            write_bytes(path, content)
        sums = {path.name: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        # Last: it says that all of its epoch is on disk.
        write_json(self.record, {"epoch": self.epoch, "sha256": sums, "rows": rows})
        for old in states_of(self.folder)[KEPT:]:
            for path in (old.record, old.weights, old.average):
                path.unlink(missing_ok=True)

    def check(self, metrics: list[Row], *, averaged: bool) -> list[Row]:
        """The metrics up to its epoch, once its files are found to be what was written.

        `metrics` are those of the run, for a state without a record: of a process that was killed
        before it wrote one, or of an earlier version. Raises `KerasResNetError`.
        """
        wanted = [self.weights, self.average] if averaged else [self.weights]
        if not self.record.is_file():
            if len(metrics) < self.epoch:
                raise KerasResNetError(
                    f"{self.weights.name} is of epoch {self.epoch}, and metrics.json ends with "
                    f"epoch {len(metrics)}"
                )
            return metrics[: self.epoch]
        record = read_record(StateRecord, self.record)
        _check_sums(wanted, record.sha256)
        if record.epoch != self.epoch or len(record.rows) != self.epoch:
            raise KerasResNetError(f"{self.record.name} is of another epoch")
        return list(record.rows)


def _check_sums(files: list[Path], sums: Mapping[str, str]) -> None:
    for path in files:
        try:
            found = checksum(path)
        except OSError as error:
            raise KerasResNetError(f"{path.name}: {error.strerror}") from None
        if found != sums.get(path.name):
            raise KerasResNetError(f"{path.name} is damaged: its checksum is another")


def states_of(folder: Path) -> list[State]:
    """The states in the directory of a run, newest first."""
    files = [*folder.glob("state-[0-9]*.json"), *folder.glob("state-[0-9]*.weights.h5")]
    numbers = {path.name.partition(".")[0].removeprefix("state-") for path in files}
    epochs = sorted((int(n) for n in numbers if n.isdecimal()), reverse=True)
    return [State(folder, epoch) for epoch in epochs if epoch]
