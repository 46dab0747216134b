"""The faults that befall a task: kills, full disks, read-only disks, damaged files."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks import Task, Wrong
from victims import NEVER, Ended, Kill, run_victim

from kerasresnet.errors import KerasResNetError

WAYS = ("cut", "garbled", "emptied", "removed")
MEGABYTES = 48  # of a small disk
MOMENT = 0.5  # seconds of processor time; a step of an epoch, or a file, takes less


@dataclass(frozen=True)
class Whole:
    """What an undisturbed command took."""

    calls: int
    seconds: float  # of processor time
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What became of one fault: survived, refused (in one line), lost, or a traceback."""

    task: str
    fault: str
    result: str
    told: str = ""


class Fault(ABC):
    """Runs the command that goes on with a task in a folder, and does something to it."""

    def __init__(self, task: Task, folder: Path, whole: Whole, draw: random.Random) -> None:
        self.task, self.folder = task, folder
        self.kill = random_kill(whole, draw)
        self.room = draw.randint(0, whole.bytes)

    @abstractmethod
    def run(self) -> Ended: ...

    @abstractmethod
    def expected(self, ended: Ended) -> bool:
        """Whether a command that did not come to its end ended as this fault makes it end."""

    def harmless(self) -> Self:
        """The same with nothing done to the command."""
        self.kill, self.room = NEVER, MEGABYTES * 2**20
        return self

    def victim(self, kill: Kill = NEVER) -> Ended:
        return run_victim(*self.task.command(self.folder), self.folder, kill)


class Killed(Fault):
    """SIGKILL at a random moment."""

    def run(self) -> Ended:
        return self.victim(self.kill)

    def expected(self, ended: Ended) -> bool:
        return ended.code == -9

    def __str__(self) -> str:
        return f"killed {self.kill}"


class Full(Fault):
    """A disk with room for a random part of what there is to write."""

    def run(self) -> Ended:
        filler = self.folder.parent / "filler"
        filler.unlink(missing_ok=True)
        free = shutil.disk_usage(filler.parent).free
        filler.write_bytes(bytes(max(0, free - self.room)))
        return self.victim()

    def expected(self, ended: Ended) -> bool:
        full = "disk is full" in ended.said or "No space left" in ended.said
        return ended.code in (1, 2) and full

    def __str__(self) -> str:
        return f"disk with room for {self.room:,} bytes"


class ReadOnly(Fault):
    """A disk that can only be read, for a command that goes on after a kill."""

    def run(self) -> Ended:
        ended = self.victim(self.kill)
        if ended.code == 0:
            return ended
        remount(self.folder.parent, "ro")
        try:
            return self.victim()
        finally:
            remount(self.folder.parent, "rw")

    def expected(self, ended: Ended) -> bool:
        return ended.code in (1, 2) and "Read-only file system" in ended.said

    def __str__(self) -> str:
        return f"read-only, killed {self.kill}"


def random_kill(whole: Whole, draw: random.Random) -> Kill:
    """Before a disk call of all that the whole takes, or a moment after it.

    Early ones are drawn more often: what goes on after a kill is then hit again, and again.
    """
    call = draw.randint(1, max(1, round(whole.calls * draw.random())))
    return Kill(call, seconds=draw.choice([None, round(draw.uniform(0, MOMENT), 2)]))


def chain(task: Task, folder: Path, faults: Iterable[Fault]) -> Iterator[Outcome]:
    """Faults one after the other, until a command comes to its end; the outcome of each.

    One has survived when what was finished before is still there, whole, and the command that
    follows does not find fault with it; the last one when all equals what nobody disturbed.
    """
    finished: set[str] = set()
    last = ""
    for fault in faults:
        ended, name = fault.run(), str(fault)
        problem = _problem(task, folder, fault, ended, finished)
        if problem:
            # What comes to its end was not disturbed: the fault before it did that.
            yield Outcome(task.name, last or name if _is_through(ended) else name, *problem)
            return
        if last:
            yield Outcome(task.name, last, "survived")
        if _is_through(ended):
            return
        finished, last = task.done(folder), name


def _is_through(ended: Ended) -> bool:
    """Whether a command came to its end, or the one before had, just ahead of its kill."""
    return ended.code == 0 or "has finished already" in ended.last_line


def _problem(
    task: Task, folder: Path, fault: Fault, ended: Ended, finished: set[str]
) -> tuple[str, str] | None:
    if ended.traceback:
        return "traceback", ended.said[-1500:]
    if not _is_through(ended) and not fault.expected(ended):
        return "lost", f"exit code {ended.code}: {ended.last_line}"
    try:
        if _is_through(ended):
            task.compare(folder)
        if gone := finished - task.done(folder):
            return "lost", f"{', '.join(sorted(gone))} was finished, and is gone"
    except (Wrong, KerasResNetError, OSError, ValueError, KeyError) as error:
        return "lost", str(error)[:500]
    return None


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """`folder` as a disk of its own. Raises `KerasResNetError` where there is no right to mount."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(line, capture_output=True).returncode:
        raise KerasResNetError("full and read-only disks need the right to mount; leave them out")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def damages(folder: Path) -> list[tuple[str, str]]:
    """Every file below `folder`, in every way."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), way) for path in files for way in WAYS]


def named(name: str, way: str) -> str:
    """How a damage is called: TensorBoard's files have other names each time."""
    return re.sub(r"(tfevents)\.\S+", r"\1", f"{name} {way}")


def damage(path: Path, way: str) -> None:
    """Cut a file in half, overwrite its middle, empty it, or remove it."""
    content = path.read_bytes()
    if way == "removed":
        path.unlink()
    elif way == "emptied":
        path.write_bytes(b"")
    elif way == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + b"\xff\x00garbled" + content[middle + 9 :])


def damaged(task: Task, folder: Path, name: str, way: str) -> Outcome:
    """The outcome of damaging a file of what the task holds in `folder`, and going on."""
    damage(folder / task.holds / name, way)
    ended = run_victim(*task.command(folder), folder)
    fault = named(name, way)
    if ended.traceback:
        return Outcome(task.name, fault, "traceback", ended.said[-1500:])
    if ended.code in (1, 2):
        return Outcome(task.name, fault, "refused", ended.last_line)
    if ended.code:
        return Outcome(task.name, fault, "lost", f"exit code {ended.code}: {ended.last_line}")
    try:
        task.compare(folder)
    except (Wrong, KerasResNetError, OSError, ValueError, KeyError) as error:
        return Outcome(task.name, fault, "lost", str(error)[:500])
    return Outcome(task.name, fault, "survived", "")
