"""Errors a user can cause: each is one sentence, and carries the exit code of the command.

A message says what was wrong, what was received, and what would be right.
"""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class KerasResNetError(Exception):
    """Something failed that is not a bug of ours (data, disk, training); exit code 1."""

    exit_code = 1


class UsageError(KerasResNetError, ValueError):
    """What was asked for makes no sense (spec, recipe, flag, path); exit code 2."""

    exit_code = 2


def unknown(kind: str, received: object, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist, with the nearest ones that do."""
    known = list(known)
    near = difflib.get_close_matches(str(received).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {received!r}: {hint}known are {', '.join(known)}"


@contextlib.contextmanager
def exit_on_error(command: str) -> Iterator[None]:
    """Turn the errors above into one line on stderr and their exit code; bugs keep a traceback.

    So does the system's refusal of a file (a full disk, a missing permission): exit code 1. A
    terminal that cannot show a sign shows a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream of somebody else's
            stream.reconfigure(errors="replace")
    try:
        yield
    except (KerasResNetError, OSError) as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        sys.exit(130)


def first_line(error: Exception) -> str:
    """What one line can say of somebody else's exception: of its message the first, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
