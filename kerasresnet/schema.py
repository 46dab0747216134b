"""The base of everything that is written down: frozen, validated, and clear when it is wrong."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kerasresnet.errors import UsageError


class Schema(BaseModel):
    """A frozen pydantic model that raises `UsageError`, one line, instead of `ValidationError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UsageError(_first_mistake(type(self), error)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new one."""
        return type(self)(**{**dict(self), **changes})


def _first_mistake(model: type[BaseModel], error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    message = mistake["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        return f"{place!r} is no field of {model.__name__}: it has {', '.join(model.model_fields)}"
    if not place or isinstance(mistake.get("ctx", {}).get("error"), UsageError):
        return message
    value = repr(mistake["input"])
    # Our own messages may name the value; pydantic's name limits, which may look like it.
    told = mistake["type"] == "missing" or (mistake["type"] == "value_error" and value in message)
    received = "" if told else f", received {value}"
    return f"{model.__name__} {place}: {message[0].lower()}{message[1:]}{received}"
