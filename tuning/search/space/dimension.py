"""One dimension of a search space: its values, when it exists, how it is drawn and narrowed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kerasresnet.errors import UsageError

if TYPE_CHECKING:
    import keras_tuner


RANGE = 1_000  # the most whole numbers that "1..9" may stand for


@dataclass(frozen=True)
class Dimension:
    """A choice among `values`, or with two values and `continuous` any number between them.

    It exists where `parent` has one of the values `when`. Continuous ones are drawn
    logarithmically, to three digits, and never outside their ends.
    """

    name: str
    values: tuple[Any, ...]
    continuous: bool = False
    parent: str | None = None
    when: tuple[Any, ...] = ()

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it exists beside the `values` chosen before."""
        return self.parent is None or values.get(self.parent) in self.when

    def draw(self, source: random.Random) -> Any:
        if not self.continuous:
            return self.values[int(source.random() * len(self.values))]
        low, high = self.values
        return self.rounded(low * (high / low) ** source.random())

    def nearest(self, value: Any) -> Any:
        """What it may be next to `value`; where it cannot tell, its first value or its middle."""
        if self.continuous:
            low, high = self.values
            return self.rounded(math.sqrt(low * high) if value is None else value)
        if value in self.values or not isinstance(value, int | float):
            return value if value in self.values else self.values[0]
        return min(self.values, key=lambda own: abs(own - value))

    def holds(self, value: Any) -> bool:
        """Whether it may be `value`."""
        if not self.continuous:
            return value in self.values
        low, high = self.values
        return isinstance(value, int | float) and low <= value <= high

    def rounded(self, value: Any) -> Any:
        """`value`; where it is continuous to three digits, its ends as they are."""
        if not self.continuous:
            return value
        low, high = self.values
        return min(max(float(f"{value:.3g}"), low), high)

    def declare(self, space: keras_tuner.HyperParameters) -> None:
        """Add it to keras-tuner's own description of the space."""
        condition = {"parent_name": self.parent, "parent_values": list(self.when)}
        condition = condition if self.parent else {}
        if self.continuous and self.values[0] < self.values[1]:
            space.Float(self.name, *self.values, sampling="log", **condition)
        else:
            space.Choice(self.name, list(dict.fromkeys(self.values)), **condition)

    def to_json(self) -> list[Any] | str:
        """What `narrowed` reads back as this dimension: a list, or text such as "0.05..0.2"."""
        return "..".join(map(_exact, self.values)) if self.continuous else list(self.values)


def _exact(number: float) -> str:
    """The short text of a number where that is the same number, else all of its digits."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def choice(name: str, *values: Any, **settings: Any) -> Dimension:
    """A dimension with a list of values."""
    return Dimension(name, values, **settings)


def span(name: str, low: float, high: float, **settings: Any) -> Dimension:
    """A dimension with any number from `low` to `high`, both above 0."""
    return Dimension(name, (low, high), continuous=True, **settings)


def narrowed(dimension: Dimension, wanted: Any) -> Dimension:
    """`dimension` with only the values `wanted`: one, a list, or text ("1,2", "0.05..0.2").

    Values have the type of those they replace, and may be others than the default ones. Raises
    `UsageError` where nothing is left or a value is of another type.
    """
    name = dimension.name
    if isinstance(wanted, str) and ".." in wanted:
        return _ranged(dimension, wanted)
    texts = wanted.split(",") if isinstance(wanted, str) else wanted
    texts = list(texts) if isinstance(texts, list | tuple) else [texts]
    values = tuple(dict.fromkeys(_read(dimension, text) for text in texts if text != ""))
    if not values:
        raise UsageError(f"{name}={wanted!r} leaves nothing; write {name}={_example(dimension)}")
    return replace(dimension, values=values, continuous=False)


def _ranged(dimension: Dimension, wanted: str) -> Dimension:
    name = dimension.name
    low, high = (_read(dimension, text) for text in wanted.split("..", 1))
    if isinstance(low, str):
        raise UsageError(f"{name} has no order: received {wanted!r}, write {_example(dimension)}")
    if low > high:
        raise UsageError(f"{name}={wanted!r} leaves nothing: its start is above its end")
    if low == high:
        return replace(dimension, values=(low,), continuous=False)
    if isinstance(low, int):
        if high - low >= RANGE:
            raise UsageError(
                f"{name}={wanted!r} is more than {RANGE:,} numbers; write a shorter range or a list"
            )
        return replace(dimension, values=tuple(range(low, high + 1)), continuous=False)
    if low <= 0:
        raise UsageError(
            f"{name}: a range starts above 0 (it is drawn logarithmically), received "
            f"{wanted!r}; write a list such as {name}=0,{high:g}"
        )
    return replace(dimension, values=(low, high), continuous=True)


def _read(dimension: Dimension, text: Any) -> Any:
    """One value, of the type that the dimension's values have."""
    kind = type(dimension.values[0])
    try:
        value = kind(text.strip() if isinstance(text, str) else text)
        if (kind is float and not math.isfinite(value)) or isinstance(text, bool):
            raise ValueError
        if kind is int and isinstance(text, float) and value != text:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        what = {int: "a whole number", float: "a number", str: "a name"}[kind]
        raise UsageError(
            f"{dimension.name} takes {what}, received {text!r}; write "
            f"{dimension.name}={_example(dimension)}"
        ) from None
    return value


def _example(dimension: Dimension) -> str:
    shown = dimension.to_json()
    return shown if isinstance(shown, str) else ",".join(map(str, shown))
