"""Commands that are killed: each runs in a fork of a process that has loaded everything before.

A fork starts in milliseconds; TensorFlow has been imported in it, but has run nothing, so that the
command goes on as in a process of its own. So are the processes in which a search trains. The calls
of all of them that change what is on a disk (opening a file to write, syncing, renaming, removing,
making a folder) are counted.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import math
import mmap
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from forks import ended_with_all, fork_trials, run_as, tree

PAUSE = 0.1  # seconds between two looks at a victim
LONGEST = 3600.0  # seconds after which a victim that does not end is a failure of its own
CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


@dataclass(frozen=True)
class Kill:
    """SIGKILL before disk call number `call`, or when `seconds` of processor time are used up after
    it; before a call on a file called `file`; all None: never."""

    call: int | None = None
    file: str | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.call is None:
            return f"before {self.file}"
        after = "before" if self.seconds is None else f"{self.seconds:.2f} s after"
        return f"{after} disk call {self.call}"


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
    calls = mmap.mmap(-1, 8)  # which all see

    def victim() -> None:
        os.chdir(cwd)
        sys.argv = line
        _count_calls(kill, calls)
        fork_trials()
        main()

    sys.stdout.flush()
    sys.stderr.flush()
    with ended_with_all():
        leader = os.fork()
        if not leader:
            run_as(victim, os.open(os.devnull, os.O_RDONLY), log.fileno(), log.fileno())
        used, code = _watch(leader, kill, calls)
    return code, _number(calls), used


def _watch(leader: int, kill: Kill, calls: mmap.mmap) -> tuple[float, int]:
    """Wait for the end of a process, or kill it; its processor time and exit code."""
    used, latest, due = 0.0, time.monotonic() + LONGEST, math.inf
    while True:
        ended, status = os.waitpid(leader, os.WNOHANG)
        if ended:
            return used, os.waitstatus_to_exitcode(status)
        used = max(used, sum(map(_processor_time, tree(leader))))
        if kill.seconds is not None and due == math.inf and _number(calls) >= (kill.call or 0):
            due = used + kill.seconds
        if used >= due or time.monotonic() > latest:
            os.kill(leader, signal.SIGKILL)
        time.sleep(PAUSE)


def _processor_time(process: int) -> float:
    with contextlib.suppress(psutil.Error):
        return sum(psutil.Process(process).cpu_times()[:2])
    return 0.0


def _number(calls: mmap.mmap) -> int:
    return int.from_bytes(calls[:8], "little")


def _count_calls(kill: Kill, calls: mmap.mmap) -> None:
    """Count the calls of this process, and of its forks, from here on; all die at what is meant."""
    leader = os.getpid()

    def counted(path: Any) -> None:
        calls[:8] = (number := _number(calls) + 1).to_bytes(8, "little")
        here = kill.file is not None and os.path.basename(str(path)) == kill.file
        there = kill.call is not None and kill.seconds is None and number >= kill.call
        if here or there:
            for process in (leader, os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

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
