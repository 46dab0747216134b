"""The base of everything that is written down: frozen, validated, and clear when it is wrong."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kerasresnet.errors import UsageError, did_you_mean

LONGEST = 200  # characters of a value that a message shows


class Schema(BaseModel):
    """A frozen pydantic model that raises `UsageError`, one line, instead of `ValidationError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UsageError(_first_mistake(type(self), error)) from None
        except RecursionError:
            raise UsageError(f"{type(self).__name__}: a value is nested too deep") from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new one."""
        return type(self)(**{**dict(self), **changes})


def shown(value: object) -> str:
    """`value` as a message shows it, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of 5,000 digits, 2,000 lists in each other
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _first_mistake(model: type[BaseModel], error: ValidationError) -> str:
    mistakes = error.errors(include_url=False)
    # What a misspelt field lacks is told by its own name, not as missing.
    strange = (mistake for mistake in mistakes if mistake["type"] == "extra_forbidden")
    mistake = next(strange, mistakes[0])
    message = mistake["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        near = did_you_mean(place, model.model_fields)
        fields = ", ".join(model.model_fields)
        return f"{place!r} is no field of {model.__name__}: {near}it has {fields}"
    if not place or isinstance(mistake.get("ctx", {}).get("error"), UsageError):
        return message
    value = shown(mistake["input"])
    # Our own messages may name the value; pydantic's name limits, which may look like it.
    told = mistake["type"] == "missing" or (mistake["type"] == "value_error" and value in message)
    received = "" if told else f", received {value}"
    return f"{model.__name__} {place}: {message[0].lower()}{message[1:]}{received}"
