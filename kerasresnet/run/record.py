"""What a run writes down, and the checks that whatever is read back has to pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, model_serializer, model_validator

from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.recipe import Name
from kerasresnet.schema import Schema

Count = Annotated[int, Field(ge=0)]
Row = dict[str, int | float]  # what was measured after one epoch
ClassName = Annotated[str, Field(min_length=1)]
Written = TypeVar("Written", bound=Schema)


class _Record(Schema):
    # A loss may have become infinite: that is a result too.
    model_config = ConfigDict(allow_inf_nan=True)


class DataSettings(Schema):
    """How a data set's images were made to fit, where that is not the default."""

    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    channels: Literal[1, 3] | None = None
    on_bad_image: Literal["refuse", "skip"] | None = None
    split_seed: Count | None = None
    given: bool | None = None
    """A program gave the images, and only it can load them again."""
    fingerprint: str | None = None
    """Of the list of pictures, in a run or an export."""

    @model_serializer(mode="wrap")
    def _what_is_said(self, everything: Callable[[DataSettings], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in everything(self).items() if value is not None}


class RunFacts(_Record):
    """run.json: what was asked for, and how far it got."""

    status: Literal["running", "finished", "failed", "interrupted"]
    name: Name | None = None
    data: str | None = None
    data_settings: DataSettings | None = None
    source: str | None = None
    skipped: tuple[str, ...] | None = None
    """Pictures that could not be read, and were left out."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    precision: str | None = None
    device: str | None = None
    parameters: Count | None = None
    macs: Count | None = None
    labels: tuple[ClassName, ...] | None = None
    """The names of the classes, in order."""
    images: dict[str, Count] | None = None
    versions: dict[str, str] | None = None
    started: str | None = None
    finished: str | None = None
    exported: str | None = None
    """Where its export is."""
    recipe_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of recipe.toml; a run of an earlier version has none."""
    error: str | None = None
    starts: dict[str, Any] | None = None
    """In a search: how often the epoch it is in was begun."""
    trial_seconds: Annotated[float, Field(ge=0)] | None = None
    """In a search: from when it was handed out to its end, the start of its process included."""


class Metrics(_Record):
    """metrics.json: a row for each finished epoch, first to last."""

    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _each_epoch_once(self) -> Metrics:
        for number, row in enumerate(self.rows, start=1):
            if row.get("epoch") != number:
                raise ValueError(f"row {number} is of epoch {row.get('epoch')}, and not {number}")
        return self


class Tested(_Record):
    """What the kept model reached on the test set."""

    images: Annotated[int, Field(ge=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    loss: float
    per_class: dict[str, float]
    top_confusions: list[dict[str, str | int]]
    confusion: list[list[Count]]
    tta: dict[str, dict[str, float]] | None = None


class Calibration(_Record):
    """What makes the kept model as sure as it is right, fitted on validation images."""

    temperature: Annotated[float, Field(gt=0)]
    images: Annotated[int, Field(ge=1)]
    test_error: Annotated[float, Field(ge=0, le=1)]
    """Expected calibration error on the test images, of the plain network."""
    test_error_after: Annotated[float, Field(ge=0, le=1)]
    """The same with its logits divided by the temperature."""


class RunResults(RunFacts):
    """results.json: everything measured."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    recipe: dict[str, Any]
    images: dict[str, Count]
    epochs: list[Row]
    train_seconds: float
    pflop: float | None = None
    test: Tested
    calibration: Calibration | None = None


class StateRecord(_Record):
    """state-0007.json: what is on disk of an epoch, and what was measured up to it."""

    epoch: Annotated[int, Field(ge=1)]
    sha256: dict[str, str]
    rows: tuple[Row, ...]


def read_record(kind: type[Written], path: Path) -> Written:
    """What a file says. Raises `KerasResNetError` where it is not what a run writes."""
    return checked(kind, read_json(path), path)


def checked(kind: type[Written], written: Any, path: Path) -> Written:
    """`written`, of the file `path`, as a `kind`. Raises `KerasResNetError` where it is none."""
    if not isinstance(written, Mapping):
        found = type(written).__name__
        raise KerasResNetError(f"{path} is damaged: it holds a {found}, and not what a run writes")
    try:
        return kind(**written)
    except (UsageError, TypeError) as error:  # a name that is no keyword is a TypeError
        raise KerasResNetError(f"{path} is damaged: {error}") from None
