"""Errors a user can cause: each is one sentence, and carries the exit code of the command.

A message reads `X is 1 or more, received 0; type Y`: what would be right, what was received, what
to type, without a capital or a full stop, for the name of a command stands before it.
"""

import difflib
from collections.abc import Iterable


class KerasResNetError(Exception):
    """Something failed that is not a bug of ours (data, disk, training); exit code 1."""

    exit_code = 1


class UsageError(KerasResNetError, ValueError):
    """What was asked for makes no sense (spec, recipe, flag, path); exit code 2."""

    exit_code = 2


def quoted(received: object, most: int = 200) -> str:
    """What was received, as a message shows it: its repr, cut where it is long."""
    text = repr(received)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def unknown(kind: str, received: object, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist, with the nearest ones that do."""
    known = list(known)
    return (
        f"unknown {kind} {quoted(received)}: {did_you_mean(received, known)}known are "
        + ", ".join(known)
    )


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Raise `UsageError` unless it holds that the value called `name` is `wanted`."""
    if not holds:
        raise UsageError(f"{name} is {wanted}, received {value!r}")


def did_you_mean(received: object, known: Iterable[str]) -> str:
    """A question with the nearest of the names that exist, and a space; "" where none is near."""
    near = difflib.get_close_matches(str(received).lower(), list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def first_line(error: Exception) -> str:
    """What one line can say of somebody else's exception: of its message the first, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
