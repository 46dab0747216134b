"""Errors a user can cause: each is one sentence, and carries the exit code of the command.

A message reads `X is 1 or more, received 0; type Y`: what would be right, what was received, what
to type, without a capital or a full stop, for the name of a command stands before it.
"""

import contextlib
import difflib
import errno
import os
import sys
from collections.abc import Iterable, Iterator


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


def did_you_mean(received: object, known: Iterable[str]) -> str:
    """A question with the nearest of the names that exist, and a space; "" where none is near."""
    near = difflib.get_close_matches(str(received).lower(), list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


@contextlib.contextmanager
def exit_on_error(command: str) -> Iterator[None]:
    """Turn the errors above into one line on stderr and their exit code; bugs keep a traceback.

    So does the system's refusal of a file (a full disk, a missing permission): exit code 1; a
    backend that Keras does not find: 2. Who reads our output may stop before its end, as `head`
    does: 141, what a shell says of that. A terminal that cannot show a sign shows a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream of somebody else's
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Else Python flushes once more at its end, and says what it thinks of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except (KerasResNetError, OSError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        hint = "; free some room, then type the same again" if full else ""
        print(f"{command}: error: {error}{hint}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))
    except (ImportError, ValueError) as error:
        if not (missing := _missing_backend(error)):
            raise
        print(f"{command}: error: {missing}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
        sys.exit(130)


_BACKENDS = ("tensorflow", "jax", "torch", "openvino")


def _missing_backend(error: Exception) -> str | None:
    """The sentence for a backend that Keras cannot load; None where `error` is another."""
    asked = os.environ.get("KERAS_BACKEND")
    if isinstance(error, ModuleNotFoundError) and error.name in _BACKENDS:
        where = f"KERAS_BACKEND={asked}" if asked == error.name else "Keras' own settings"
        return (
            f"the Keras backend {error.name} ({where}) is not installed here; "
            "type unset KERAS_BACKEND for tensorflow, or install it"
        )
    if asked and asked not in _BACKENDS and "backend" in str(error):
        return f"KERAS_BACKEND={asked} is no backend of Keras; type unset KERAS_BACKEND"
    return None


def first_line(error: Exception) -> str:
    """What one line can say of somebody else's exception: of its message the first, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
