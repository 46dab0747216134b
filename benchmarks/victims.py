"""Commands that are killed: each runs in a fork of a process that has loaded everything before.

A fork starts in milliseconds; TensorFlow has been imported in it, but has run nothing and has no
threads, so that the command goes on as in a process of its own. Its calls that change what is on a
disk (opening a file to write, syncing, renaming, removing, making a folder) are counted.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import mmap
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil

PAUSE = 0.1  # seconds between two looks at a victim
LONGEST = 3600.0  # seconds after which a victim that does not end is a failure of its own
CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


@dataclass(frozen=True)
class Kill:
    """SIGKILL before disk call number `call`, before one on a file called `file`, or when `seconds`
    of processor time are used up; all None: never."""

    call: int | None = None
    file: str | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.call is not None:
            return f"before disk call {self.call}"
        return f"after {self.seconds:.2f} s" if self.seconds is not None else f"before {self.file}"


@dataclass(frozen=True)
class Ended:
    """How a victim ended: its exit code (-9 where it was killed), what it used, what it said."""

    code: int
    calls: int
    seconds: float  # of processor time
    said: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said or self.code == -signal.SIGSEGV

    @property
    def last_line(self) -> str:
        return (self.said.strip().splitlines() or [""])[-1][:300]


NEVER = Kill()


def run_victim(main: Callable[[], Any], line: list[str], cwd: Path, kill: Kill = NEVER) -> Ended:
    """Run a command's `main` in `cwd` with the command line `line`, and kill it where `kill` says.

    Its processes are gone when this returns.
    """
    with tempfile.TemporaryFile() as log:  # not in `cwd`, whose disk may be full
        code, calls, used = _fork(main, line, cwd, kill, log)
        log.seek(0)
        return Ended(code, calls, used, log.read().decode(errors="replace"))


def _fork(
    main: Callable[[], Any], line: list[str], cwd: Path, kill: Kill, log: BinaryIO
) -> tuple[int, int, float]:
    """Exit code, disk calls and processor time of a fork that runs `main` and speaks into `log`."""
    calls = mmap.mmap(-1, 8)  # which both see
    sys.stdout.flush()
    sys.stderr.flush()
    leader = os.fork()
    if not leader:
        os.setsid()
        os.chdir(cwd)
        for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), *[log.fileno()] * 2)):
            os.dup2(source, number)
        # Who starts this may have put something else into their place.
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        sys.argv = line
        _count_calls(kill, calls)
        exit_with(main)
    used, code = _watch(leader, kill.seconds)
    return code, int.from_bytes(calls[:8], "little"), used


def exit_with(main: Callable[[], Any]) -> None:
    """End this fork with the exit code that a process of its own would have after `main`."""
    code: Any = 1
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _watch(leader: int, seconds: float | None) -> tuple[float, int]:
    """Wait for the end of a process, end what it started; its processor time and exit code."""
    used, latest, seen = 0.0, time.monotonic() + LONGEST, {leader}
    while True:
        ended, status = os.waitpid(leader, os.WNOHANG)
        if ended:
            _kill(seen - {leader})
            return used, os.waitstatus_to_exitcode(status)
        seen |= (tree := set(_tree(leader)))
        used = max(used, sum(map(_processor_time, tree)))
        if (seconds is not None and used >= seconds) or time.monotonic() > latest:
            _kill(tree)
        time.sleep(PAUSE)


def _kill(processes: Iterable[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _tree(process: int) -> Iterator[int]:
    """A process and those that it started; to look at all of the machine's is slow."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _processor_time(process: int) -> float:
    with contextlib.suppress(psutil.Error):
        return sum(psutil.Process(process).cpu_times()[:2])
    return 0.0


def _count_calls(kill: Kill, calls: mmap.mmap) -> None:
    """Count the calls of this process from here on, and die at the one that is meant."""

    def counted(path: Any) -> None:
        number = int.from_bytes(calls[:8], "little") + 1
        calls[:8] = number.to_bytes(8, "little")
        here = kill.file is not None and os.path.basename(str(path)) == kill.file
        if number == kill.call or here:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            counted(arguments[-1] if arguments else "")
            return function(*arguments, **settings)

        return call

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
    opened = io.open

    def opening(file: Any, mode: str = "r", *arguments: Any, **settings: Any) -> Any:
        if set(mode) & set("wax+"):
            counted(file)
        return opened(file, mode, *arguments, **settings)

    io.open = builtins.open = opening


def load_everything() -> None:
    """Import what the commands import; run no operation of TensorFlow's."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import importlib

    for name in (
        "keras",
        "keras_tuner",
        "matplotlib.pyplot",
        "plotly.graph_objects",
        "sklearn.datasets",
        "sklearn.metrics",
        "sklearn.model_selection",
        "tensorflow",
        "kerasresnet.export.__main__",
        "kerasresnet.export.saved_model",
        "kerasresnet.fit.__main__",
        "kerasresnet.fit.callbacks",
        "kerasresnet.fit.epochs",
        "kerasresnet.report.page",
        "kerasresnet.report.pictures",
        "tuning.search.__main__",
        "tuning.search.driver",
        "tuning.search.trial",
    ):
        importlib.import_module(name)
