"""Processes forked from one that has loaded everything, in the place of processes of their own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

ADOPT = 36  # PR_SET_CHILD_SUBREAPER, of Linux's prctl


def run_as(main: Callable[[], Any], stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Be a process of its own from here on: run `main` with these files, and end."""
    os.setsid()
    for number, source in enumerate((stdin, stdout, stderr)):
        os.dup2(source, number)
    _let_go_of_files()
    # Who forked this may have put something else into their place.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    exit_with(main)


def _let_go_of_files() -> None:
    """Leave the locks and pipes of the process that forked this to it alone.

    Their numbers stay taken: an object that still has one must not close what is opened later.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            os.fstat(number)
            if number > 2:
                os.dup2(nothing, number)


def exit_with(main: Callable[[], Any]) -> NoReturn:
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


class Nursery:
    """Forks processes of the search's engine for this one, which TensorFlow's threads are in soon.

    A process that forks must have none of them. What it forks becomes a child of this process.
    """

    def __init__(self) -> None:
        self._requests, requests = socket.socketpair()
        adopt(True)
        if not os.fork():
            self._requests.close()
            _fork_on_request(requests)
        requests.close()

    def fork(self, *files: int) -> int:
        """The number of a process with these standard files, which runs what the engine does."""
        socket.send_fds(self._requests, [b"?"], files)
        answer = self._requests.recv(9, socket.MSG_WAITALL)
        if len(answer) < 9:
            raise EOFError("what forks the processes of the engine has ended")
        return int.from_bytes(answer[:8], "little")


def _fork_on_request(requests: socket.socket) -> NoReturn:
    # Who asks may be killed meanwhile: that is the end of this, and nothing to be told.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        _answer(requests)
    os._exit(0)


def _answer(requests: socket.socket) -> NoReturn:
    from tuning.engine.child import main

    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, 3)
        if not files:  # who asks has ended
            os._exit(0)
        if not (between := os.fork()):  # when it ends, its child is adopted
            if not (child := os.fork()):
                run_as(main, *files)
            requests.sendall(child.to_bytes(8, "little"))
            os._exit(0)
        os.waitpid(between, 0)
        requests.sendall(b"!")
        for file in files:
            os.close(file)


class Forked:
    """A process of the search's engine, as `subprocess.Popen` makes one."""

    def __init__(
        self, nursery: Nursery, command: list[str], *, stderr: Any = None, **pipes: Any
    ) -> None:
        jobs, give = os.pipe()
        take, answers = os.pipe()
        self.pid = nursery.fork(jobs, answers, 2 if stderr is None else stderr.fileno())
        os.close(jobs)
        os.close(answers)
        self.stdin, self.stdout = os.fdopen(give, "wb"), os.fdopen(take, "rb")

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; several threads may ask for it, so that the system keeps it."""
        until = None if timeout is None else time.monotonic() + timeout
        how = os.WEXITED | os.WNOWAIT | (0 if until is None else os.WNOHANG)
        while (found := os.waitid(os.P_PID, self.pid, how)) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a fork", timeout)
            time.sleep(0.01)
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)  # of one that has ended it is nobody else's: none is waited for

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_trials() -> None:
    """From here on, the processes of a search's engine are forks, not started by `subprocess`."""
    from tuning.engine import local

    started = partial(Forked, Nursery())
    local.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": started})


def adopt(orphans: bool) -> None:
    """Whether what is started below this process, and loses its parent, becomes its child."""
    ctypes.CDLL(None).prctl(ADOPT, int(orphans))


@contextlib.contextmanager
def ended_with_all() -> Iterator[None]:
    """What is started meanwhile, whoever starts it, has ended when this is left."""
    before = set(tree(os.getpid()))
    adopt(True)
    try:
        yield
    finally:
        while left := set(tree(os.getpid())) - before:
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):  # not yet a child of this one
                    os.waitpid(process, 0)
        adopt(False)


def tree(process: int) -> Iterator[int]:
    """A process and those that it started; to look at all of the machine's is slow."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from tree(int(child))
