"""The processes of a search on one machine: started, replaced when they end, never left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kerasresnet.disk import NoRoom, read_json
from kerasresnet.errors import KerasResNetError, UsageError

RECYCLE = 75  # exit code of a process that wants to be replaced by a fresh one
FULL = 76  # exit code of a process that found the disk full: another would find it too
CRASHES = 5  # ends without progress, one after the other, after which a process is given up
GOODBYE = 20.0  # seconds that the others have to end when the chief, or all workers, are done
SUPERVISOR = "KERASRESNET_SUPERVISOR"  # which one started a process: another for each command
_WATCHED = "KERASRESNET_WATCHED"
ERROR = "tuning.search.engine.worker: error: "


def exit_with_parent() -> None:
    """End this process when the one that started it ends, however it ends.

    Does nothing in a process that was started by hand.
    """
    if os.environ.pop(_WATCHED, None):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while os.read(0, 1):  # a pipe that only the parent holds; nothing is ever written to it
        pass
    os._exit(1)


@dataclass
class Child:
    """One process and its environment, started again when it ends too early."""

    name: str
    environment: dict[str, str]
    process: subprocess.Popen | None = None
    crashes: int = 0
    starts: int = 0
    start_at: float = 0.0
    spoken: int = 0  # bytes in its log when it started
    done: bool = False
    stamp: object = field(default=None, repr=False)  # of the search's files when it started


def children_of(workers: int, environment: dict[str, str]) -> list[Child]:
    """One process for one worker; a chief and workers on this machine for more.

    `environment` is that of keras-tuner where it says what this machine is: then there is one
    process, as it says.
    """
    if workers == 1 or environment.get("KERASTUNER_ORACLE_IP"):
        return [Child(environment.get("KERASTUNER_TUNER_ID", "solo"), {})]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    names = ["chief", *(f"worker{i}" for i in range(workers))]
    return [Child(name, {**where, "KERASTUNER_TUNER_ID": name}) for name in names]


class Supervisor:
    """Keeps the `children` of the search in `folder` running until all have done their part."""

    def __init__(self, folder: Path, children: Sequence[Child], flags: Sequence[str] = ()) -> None:
        self.folder = folder
        self.children = list(children)
        self.command = [
            sys.executable,
            "-m",
            "tuning.search.engine.worker",
            str(folder.resolve()),
            *flags,
        ]
        self._name = uuid.uuid4().hex
        self._over: float | None = None  # when the chief was done, or all workers

    def poll(self) -> bool:
        """Start what should run and does not; whether all is done.

        Raises `UsageError` where a process refused at its first start what it was asked for,
        `KerasResNetError` where one ends again and again, or (`NoRoom`) the disk is full.
        """
        for child in self.children:
            if child.process is not None and (code := child.process.poll()) is not None:
                self._ended(child, code)
            if child.process is None and not child.done and time.monotonic() >= child.start_at:
                self._start(child)
        chief, *workers = self.children  # or the only one
        # Workers are done when they heard that all is; a chief killed after that has none to tell.
        if chief.done or (workers and all(worker.done for worker in workers)):
            self._over = self._over or time.monotonic()
        late = self._over is not None and time.monotonic() - self._over > GOODBYE
        return late or all(child.done for child in self.children)

    def stop(self) -> None:
        """End every process that still runs; what they did is on disk."""
        for child in self.children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()
                child.process.stdin.close()
                child.process = None

    def _start(self, child: Child) -> None:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        child.stamp = self._progress()
        child.starts += 1
        with open(logs / f"{child.name}.log", "ab") as log:
            child.spoken = log.tell()
            child.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **child.environment, _WATCHED: "1", SUPERVISOR: self._name},
                start_new_session=True,  # Ctrl-C is for the parent, which ends them all
            )

    def _ended(self, child: Child, code: int) -> None:
        child.process.stdin.close()
        child.process = None
        if code == 0:
            child.done = True
        elif code == UsageError.exit_code and child.starts == 1:
            # Later it is no mistake of the user's: the chief may just be away.
            raise UsageError(self._last_words(child))
        elif code == FULL:
            said = self._last_words(child)
            if "disk is full" not in said:  # its log is on that disk
                said = f"the disk is full: there is no room for all of {self.folder}; free some"
            raise NoRoom(f"{said}, then the same command goes on with the search")
        elif code != RECYCLE:
            # A search that goes on in spite of crashes may go on.
            moved = self._progress() != child.stamp
            child.crashes = 1 if moved else child.crashes + 1
            if child.crashes >= CRASHES:
                raise KerasResNetError(
                    f"{child.name} ended {CRASHES} times with code {code} and did nothing: "
                    f"{self._last_words(child)}; see {self.folder / 'logs' / child.name}.log"
                )
            child.start_at = time.monotonic() + min(2.0 ** (child.crashes - 1), 30.0)

    def _progress(self) -> object:
        """Something that changes whenever a trial ends or finishes an epoch.

        Not when oracle.json is only written again, as a process does that starts.
        """
        found: list[object] = []
        with contextlib.suppress(KerasResNetError, KeyError, TypeError):
            found.append(len(read_json(self.folder / "oracle.json")["end_order"]))
        for path in sorted(self.folder.glob("trial_*/run/metrics.json")):
            with contextlib.suppress(OSError):
                found.append((path.parts[-3], path.stat().st_mtime_ns))
        return found

    def _last_words(self, child: Child) -> str:
        """The last line since the process started; its own error line where it wrote one."""
        log = self.folder / "logs" / f"{child.name}.log"
        said = log.read_bytes()[child.spoken :].decode(errors="replace") if log.is_file() else ""
        lines = said.strip().splitlines()
        own = [line for line in lines if line.startswith(ERROR)]
        return (own or lines or ["it said nothing"])[-1].removeprefix(ERROR)
