"""Faults, again and again: kills, full and read-only disks, damaged files; and what was lost.

python benchmarks/faults.py --kills 5 --disks 2 --damages 5      a quick look
python benchmarks/faults.py                                      what docs/trust.md says, hours
python benchmarks/faults.py --only kill --tasks fit export       a part of it
python -m kerasresnet.report --into docs/trust.md

Fit, search and export run on the digits with networks of some hundred parameters, as the very
commands, each in a fork of this process, as are the processes in which a search trains: that saves
each the import of TensorFlow, in which nothing can be lost. A command and all of its processes are
killed by SIGKILL before a disk call drawn by chance of all that they make, or a moment after one;
then the same is done to the command that goes on with what was left, again and again,
until one comes to its end. After every kill, what was finished before must be there still, whole;
at the end all must equal, bit for bit, what a command does that nobody disturbs. So do full disks
(a small tmpfs, with room drawn by chance) and read-only ones; these need the right to mount. Every
file of a run and of a search that stand half-way, and of a run that is exported, is cut, garbled,
emptied, removed: the command goes on and ends equal, or says in one line why not.

--out holds every fault as soon as it is done; the same command goes on, with as many more as are
asked for.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from plagues import (
    Fault,
    Full,
    Killed,
    Outcome,
    ReadOnly,
    Whole,
    chain,
    damaged,
    damages,
    named,
    small_disk,
)
from tasks import TASKS, Task
from victims import Kill, load_everything, run_victim

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import read_json, write_json
from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.run import Run

Kind = Literal["kill", "full", "read-only", "damage"]
LONGEST_CHAIN = 10  # faults on one run before its end is compared
FILES = 4  # that are damaged in a turn
# Before which a run, or a search, is killed whose files are damaged then: at its last epoch.
LAST = {"fit": "aside-state-0003.weights.h5", "search": "aside-average-0002.weights.h5"}
FAULTS: dict[Kind, type[Fault]] = {"kill": Killed, "full": Full, "read-only": ReadOnly}


@dataclass(frozen=True)
class FaultOptions:
    """Kill, fill up, damage; count what was lost. The same command goes on."""

    only: tuple[Kind, ...] = ("kill", "damage", "full", "read-only")
    """The kinds of faults, which take turns."""
    tasks: tuple[Literal["fit", "search", "export"], ...] = ("fit", "search", "export")
    """What they befall."""
    kills: int = 200
    """Kills of each task, in all."""
    disks: int = 30
    """Full disks of each task, in all, and as many read-only ones."""
    damages: int | None = None
    """Damaged files of each task, in all (default: every file in every way)."""
    seed: int = 0
    """Seed of what is drawn."""
    out: Path = Path("benchmarks/faults.json")
    """Where every fault is written down."""


@dataclass
class Record:
    """--out: every fault so far."""

    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    outcomes: list[dict[str, str]] = field(default_factory=list)
    chains: int = 0
    """Begun so far: one whose command ends before its kill has no outcome, and another is drawn."""

    @classmethod
    def open(cls, path: Path) -> Record:
        """Raises `UsageError` where the file holds something else."""
        if not path.is_file():
            return cls(path)
        written = read_json(path)
        if not isinstance(written, dict) or "outcomes" not in written:
            raise UsageError(f"{path} is none of this benchmark's files; choose another --out")
        return cls(path, outcomes=written["outcomes"])

    def of(self, task: Task, kind: Kind) -> list[dict[str, str]]:
        rows = self.outcomes
        return [row for row in rows if (row["task"], row["kind"]) == (task.name, kind)]

    def add(self, kind: Kind, outcome: Outcome) -> None:
        self.outcomes.append({"kind": kind, **asdict(outcome)})
        write_json(self.path, {**self.facts, "outcomes": self.outcomes})
        told = f": {outcome.told}" if outcome.told else ""
        print(f"{kind}, {outcome.task}, {outcome.fault}: {outcome.result}{told}", flush=True)


class Scene(NamedTuple):
    """A task, what it takes undisturbed, and a folder that holds a run to damage."""

    task: Task
    whole: Whole
    start: Path | None


@contextmanager
def fresh(task: Task, *, on_disk: bool = False) -> Iterator[Path]:
    """An empty folder prepared for `task`, if need be on a small disk of its own."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        if on_disk:
            with small_disk(Path(name) / "disk") as disk:
                yield _prepared(task, disk / "here")
        else:
            yield _prepared(task, Path(name) / "here")


def _prepared(task: Task, folder: Path) -> Path:
    folder.mkdir()
    task.prepare(folder)
    return folder


def undisturbed(task: Task, folder: Path) -> Whole:
    """Run the task to its end. Raises `KerasResNetError` where it does not come there."""
    before = size_of(folder)
    ended = run_victim(*task.command(folder), folder)
    if ended.code or ended.traceback:
        raise KerasResNetError(f"{task.name} fails undisturbed: {ended.said[-2000:]}")
    task.compare(folder)
    return Whole(ended.calls, ended.seconds, size_of(folder) - before)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def one_chain(kind: Kind, scene: Scene, options: FaultOptions, record: Record) -> bool:
    """Some more faults of one kind on one task; False where there were as many as is asked."""
    task, wanted = scene.task, options.kills if kind == "kill" else options.disks
    done = len(record.of(task, kind))
    if done >= wanted:
        return False
    record.chains += 1
    draw = random.Random(f"{options.seed} {kind} {task.name} {done} {record.chains}")
    with fresh(task, on_disk=kind != "kill") as folder:
        made = partial(FAULTS[kind], task, folder, scene.whole, draw)
        faults = (made() for _ in range(min(wanted - done, LONGEST_CHAIN)))
        for outcome in chain(task, folder, itertools.chain(faults, [made().harmless()])):
            record.add(kind, outcome)
    return True


def some_damages(scene: Scene, options: FaultOptions, record: Record) -> bool:
    """Damage some more files, each in a copy of the run; False where all that are asked for are."""
    task = scene.task
    done = {named(*row["fault"].split(" ")) for row in record.of(task, "damage")}
    left = [each for each in damages(scene.start / task.holds) if named(*each) not in done]
    random.Random(options.seed).shuffle(left)
    if options.damages is not None:
        left = left[: max(0, options.damages - len(done))]
    for name, way in left[:FILES]:
        with tempfile.TemporaryDirectory(prefix="faults-") as home:
            folder = shutil.copytree(scene.start, Path(home) / "here")
            record.add("damage", damaged(task, folder, name, way))
    return bool(left)


def half_way(task: Task, folder: Path) -> Path:
    """What has files to damage: a run or search before its last state, or one that is exported."""
    folder.mkdir()
    task.prepare(folder)
    if task.name in LAST:
        ended = run_victim(*task.command(folder), folder, Kill(file=LAST[task.name]))
        done = task.done(folder)
        if ended.code != -9 or not any(what.startswith("epoch 1") for what in done):
            raise KerasResNetError(f"{task.name} did not stop before its last state: {done}")
    return folder


def befall(scenes: list[Scene], options: FaultOptions, record: Record) -> None:
    """All that is asked for, in turns: whenever it is stopped, there is something of each."""
    turns = []
    for kind in options.only:
        for scene in scenes:
            if kind != "damage":
                turns.append(partial(one_chain, kind, scene, options, record))
            elif scene.start:
                turns.append(partial(some_damages, scene, options, record))
    while turns:
        turns = [turn for turn in turns if turn()]


def summary(record: Record) -> str:
    counts = Counter((row["kind"], row["task"], row["result"]) for row in record.outcomes)
    return "\n".join(f"{', '.join(key)}: {count}" for key, count in sorted(counts.items()))


def run(options: FaultOptions) -> None:
    """All that is asked for and not yet done."""
    record = Record.open(options.out)
    load_everything()
    with tempfile.TemporaryDirectory(prefix="faults-whole-") as name:
        home = Path(name)
        half = "damage" in options.only
        names = [*options.tasks]
        if "export" in names:  # what is exported is the run of a fit
            names = ["fit", *(name for name in names if name != "fit")]
        scenes = [scene_of(name, home, half and name in options.tasks) for name in names]
        facts = Run(next(home.rglob("run.json")).parent).facts
        record.facts = {name: facts[name] for name in ("device", "precision", "versions")}
        befall([scene for scene in scenes if scene.task.name in options.tasks], options, record)
    print(summary(record))


def scene_of(name: str, home: Path, half: bool) -> Scene:
    """Run a task undisturbed, and put a run with files to damage beside it if that is `half`."""
    place = home / ("fit" if name == "export" else name)
    task = TASKS[name](place)
    with fresh(task) as other:
        folder = other if name == "export" else place
        folder.mkdir(exist_ok=True)
        whole = undisturbed(task, folder)
    print(f"{name} undisturbed: {whole}", flush=True)
    return Scene(task, whole, half_way(task, home / f"{name}-half") if half else None)


def main() -> None:
    with exit_on_error("benchmarks/faults.py"):
        options = parse(FaultOptions, None, prog="python benchmarks/faults.py")
        if min(options.kills, options.disks, options.damages or 0) < 0:
            raise UsageError("--kills, --disks and --damages are 0 or more")
        run(options)


if __name__ == "__main__":
    main()
