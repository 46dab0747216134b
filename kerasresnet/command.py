"""What every command shares: how flags are read, facts and times told, waits, and how it ends."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerasresnet.disk import is_full
from kerasresnet.errors import KerasResNetError, UsageError, quoted, unknown
from kerasresnet.network.spec import ResNetSpec

_LONG = 5.0  # seconds that nobody wonders about
_THOUSANDS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_COUNT = re.compile(r"([+-]?[0-9_,]+(?:\.[0-9]+)?)([kKmMgG]?)")


def parse(kind: type, arguments: list[str] | None, *, prog: str, default=None):
    """tyro over `kind`, by our `registry`, with mistakes as `UsageError`."""
    settings = {} if default is None else {"default": default}
    boxes = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxes):
            return tyro.cli(kind, args=arguments, prog=prog, registry=registry(), **settings)
    except SystemExit as stop:
        if stop.code:
            raise UsageError(f"{_first_sentence(boxes.getvalue())} (see {prog} --help)") from None
        raise


def registry() -> tyro.constructors.ConstructorRegistry:
    """What tyro must know of our types: specs are written as text, 60000 as 60k too."""
    ours = tyro.constructors.ConstructorRegistry()

    @ours.primitive_rule
    def _read_as_ours(info: tyro.constructors.PrimitiveTypeInfo):
        # `int | None` is one type here: tyro's own rule for the two would hide our sentence.
        kinds = [kind for kind in get_args(info.type) or (info.type,) if kind is not type(None)]
        reader = _reader_of(kinds[0]) if len(kinds) == 1 and not _is_generic(info.type) else None
        if reader is None:
            return None
        may_be_none = type(None) in get_args(info.type)

        def read(texts: list[str]) -> Any:
            return None if may_be_none and texts == ["None"] else reader.read(texts[0])

        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{None}}|{reader.metavar}" if may_be_none else reader.metavar,
            instance_from_str=read,
            is_instance=lambda value: reader.takes(value) or (may_be_none and value is None),
            str_from_instance=lambda value: [str(value)],
        )

    return ours


class _Reader(NamedTuple):
    """How values of a type are shown in --help, read, and told from others."""

    metavar: str
    read: Callable[[str], Any]
    takes: Callable[[Any], bool]


def _reader_of(kind: Any) -> _Reader | None:
    """The reader of a type that we read ourselves; None for one that tyro reads well."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind is ResNetSpec:
        return _Reader("SPEC", ResNetSpec.from_text, lambda value: isinstance(value, ResNetSpec))
    if kind is int:
        return _Reader("INT", read_count, lambda value: type(value) is int)
    if kind is float:
        return _Reader("FLOAT", _read_number, lambda value: type(value) in (int, float))
    return None


def _is_generic(kind: Any) -> bool:
    """Whether `kind` has arguments, as tuple[int, int] has, and is no union."""
    return get_origin(kind) not in (None, Union, UnionType)


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"a number is written 0.1 or 1e-4, received {quoted(text)}") from None


def read_count(text: str) -> int:
    """A whole number: 60000, 60_000, 60k, 1.5M. Raises `UsageError`."""
    matched = _COUNT.fullmatch(text.strip())
    if matched and len(text) <= 40:
        letter = matched[2].lower() if matched[2] in "kK" else matched[2].upper()
        digits = matched[1].replace("_", "").replace(",", "")
        whole, _, part = digits.partition(".")
        thousands = _THOUSANDS[letter]
        # In whole numbers: 0.1 is none in binary.
        rest, over = divmod(int(part or 0) * thousands, 10 ** len(part))
        if whole.strip("+-") and not over:
            sign = -1 if whole.startswith("-") else 1
            return int(whole) * thousands + sign * rest
    raise UsageError(f"a whole number is written 60000, 60k or 1.5M, received {quoted(text)}")


def _first_sentence(boxed: str) -> str:
    """What tyro says in the first part of its first box as one line; of strange flags, the next."""
    lines = [line.strip("│╭╮╰╯ ").strip() for line in boxed.splitlines()[1:]]
    rule = next((i for i, line in enumerate(lines) if set(line) <= {"─"}), len(lines))
    sentence = " ".join(lines[:rule]).removeprefix("Error parsing training: ")
    if strange := re.match(r"Unrecognized options: (.*)", sentence):
        return _strange(strange[1].split(", "), lines[rule:])
    return _in_our_words(sentence.removeprefix("Error parsing "))


def _in_our_words(sentence: str) -> str:
    """What tyro says of a missing flag or value, of a strange choice: what was received, known."""
    if lacking := re.match(r"Missing from python -m \S+: (--\S+ \S+|\S+) (.*?)\.? \(req", sentence):
        return f"{lacking[1]} is missing: {lacking[2][:1].lower()}{lacking[2][1:]}"
    if empty := re.match(r"Missing value for argument '(--\S+|\S+)'", sentence):
        name = empty[1]
        return f"{name} takes a value" if name.startswith("-") else f"{name.upper()} is missing"
    if strange := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Ex.*?\((.*)\)", sentence):
        known = re.findall(r"'([^']*)'", strange[3])
        return f"{strange[2]}: {unknown('value', strange[1], known)}"
    if shape := re.match(r"(\S+): no type matching (\S+|.*?\}) could.* from (\[.*\])", sentence):
        return f"{shape[1]} is written {shape[2]}, received {shape[3]}"
    return sentence


def _strange(received: list[str], lines: list[str]) -> str:
    """The sentence for words that belong to no flag, with those that tyro finds near."""
    flag = next((word for word in received if word.startswith("-")), None)
    if flag is None:
        return f"{quoted(' '.join(received))} belongs to no flag"
    flag = flag.split("=")[0]
    near = [line.split()[0].rstrip(",") for line in lines if line.startswith("--")][:3]
    if not near:
        return f"there is no flag {flag}"
    alike = [difflib.SequenceMatcher(None, flag, other).ratio() for other in near]
    near = [other for other, much in zip(near, alike, strict=True) if much > max(alike) - 0.1]
    listed = ", ".join(near[:-1]) + (" or " if near[1:] else "") + near[-1]
    return f"there is no flag {flag}: did you mean {listed}?"


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
        full = isinstance(error, OSError) and is_full(error)
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


def print_facts(rows: Mapping[str, str]) -> None:
    """A plan as a table: what each line is about, and what it says, as wide as the terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, escape(value))
    Console().print(table)


def duration(seconds: float) -> str:
    """42 s, 1 min 32 s, 25 min, 1 h 05 min, 2 d 03 h: as exact as anybody needs."""
    if (whole := round(seconds)) < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24:02} h"


@contextlib.contextmanager
def waiting_for(what: str, seconds: float = _LONG) -> Iterator[None]:
    """Say on a terminal's stderr what is waited for, where that takes longer than `seconds`."""
    if not sys.stderr.isatty():
        yield
        return
    kept = os.dup(sys.stderr.fileno())  # what is waited for may close it meanwhile
    timer = threading.Timer(seconds, os.write, (kept, f"waiting for {what} …\n".encode()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(kept)
