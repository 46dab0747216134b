"""What fit, search and export do in the tests of faults, and what is whole of what they leave."""

from __future__ import annotations

import io
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.disk import read_json
from kerasresnet.errors import KerasResNetError
from kerasresnet.run import Run

NAME = "victim"
TIMES = ("seconds",)  # of a row of metrics: the rest is the same each time
FIT = f"""
--data digits --spec stem4s4-BB1x4 --epochs 3 --batch-size 256 --name {NAME} --run-dir run
--export-dir served --force
"""
SEARCH = """
--data digits --search-dir search --max-params 6000 --train-images 256 --val-images 144 --plain
--max-epochs 2 --factor 2 --set stacks=1 --set block=BB --set blocks=1 --set first_stride=2
--set conv_kernel=3 --set shortcut_kernel=1 --set stem=conv --set optimizer=sgd --set average=ema
--set resolution=none --set randaugment=0
"""


class Wrong(Exception):
    """Something is lost, or only half there."""


class Task(ABC):
    """A command in a folder; the same or another command goes on with what it left.

    `whole` is a folder in which it ran undisturbed.
    """

    name: str
    holds = "run"
    """The directory in which its files are damaged."""

    def __init__(self, whole: Path) -> None:
        self.whole = whole

    def prepare(self, folder: Path) -> None:  # noqa: B027 - most need nothing
        """Put into `folder` what the command needs."""

    @abstractmethod
    def command(self, folder: Path) -> tuple[Callable[[], Any], list[str]]:
        """`main` and the command line by which it begins, or goes on with what is there."""

    @abstractmethod
    def done(self, folder: Path) -> set[str]:
        """What of it is finished and on disk. Raises `Wrong` where some of it is not whole."""

    @abstractmethod
    def compare(self, folder: Path) -> None:
        """Raises `Wrong` where a finished one is not what the undisturbed one is."""


class Fit(Task):
    """Train, measure, draw, export."""

    name = "fit"

    def command(self, folder: Path) -> tuple[Callable[[], Any], list[str]]:
        from kerasresnet.fit.__main__ import main

        flags = FIT.split()
        if (folder / "run").exists():
            flags = ["--resume", "run", "--export-dir", "served", "--force"]
        return main, ["kerasresnet.fit", *flags]

    def done(self, folder: Path) -> set[str]:
        check_versions(folder, self.whole)
        exported = {f"version {number}" for number in versions(folder)}
        if not (folder / "run").exists():
            return exported
        return exported | epochs(Run.open(folder / "run"), Run.open(self.whole / "run"))

    def compare(self, folder: Path) -> None:
        run, whole = Run.open(folder / "run"), Run.open(self.whole / "run")
        if missing := [name for name, there in run.stages.items() if not there]:
            raise Wrong(f"it ended well without being {', '.join(missing)}")
        if timeless(run.metrics) != timeless(whole.metrics):
            raise Wrong("its metrics are others")
        if timeless(run.results["epochs"]) != timeless(run.metrics):
            raise Wrong("its results list other epochs")
        if run.results["test"] != whole.results["test"]:
            raise Wrong("it measured something else on the test images")
        compare_arrays(weights(run.model_path), weights(whole.model_path))
        if versions(folder) != ["1"]:
            raise Wrong(f"it left the versions {', '.join(versions(folder))}")
        if left := [path.name for path in run.path.glob("aside-*")]:
            raise Wrong(f"it left {', '.join(left)}")
        compare_exports(folder, self.whole)


class Export(Task):
    """Export a finished run, and again."""

    name = "export"

    def prepare(self, folder: Path) -> None:
        shutil.copytree(self.whole / "run", folder / "run")

    def command(self, folder: Path) -> tuple[Callable[[], Any], list[str]]:
        from kerasresnet.export.__main__ import main

        return main, ["kerasresnet.export", "run", "--export-dir", "served", "--force"]

    def done(self, folder: Path) -> set[str]:
        check_versions(folder, self.whole)
        return {f"version {number}" for number in versions(folder)}

    def compare(self, folder: Path) -> None:
        if left := [path.name for path in (folder / "served" / NAME).glob(".tmp-*")]:
            raise Wrong(f"it left {', '.join(left)}")
        if not versions(folder):
            raise Wrong("it ended well without a version")
        compare_exports(folder, self.whole)


class Search(Task):
    """Hyperband over tiny networks, and its report."""

    name = "search"
    holds = "search"

    def command(self, folder: Path) -> tuple[Callable[[], Any], list[str]]:
        from tuning.search.__main__ import main

        return main, ["tuning.search", *SEARCH.split()]

    def done(self, folder: Path) -> set[str]:
        """Epochs of all trials, and trials that have ended."""
        from tuning.search.view.trials import read_trials

        home, whole = folder / "search", self.whole / "search"
        for path in home.rglob("*.json"):
            read_json(path)
        if not (home / "search.json").is_file():
            return set()
        done = {f"{t.trial_id} with {t.score}" for t in read_trials(home) if t.scored}
        for path in home.glob("trial_*/run"):
            found = epochs(Run(path), Run(whole / path.relative_to(home)))
            done |= {f"{epoch} of {path.parent.name}" for epoch in found}
        return done

    def compare(self, folder: Path) -> None:
        from tuning.search.view.trials import read_trials

        found, whole = (
            {
                t.trial_id: (t.spec, t.status, t.score, timeless(t.rows))
                for t in read_trials(place / "search")
            }
            for place in (folder, self.whole)
        )
        if found != whole:
            raise Wrong(f"its trials are {found}, and undisturbed {whole}")
        if not (folder / "search" / "report" / "best.toml").is_file():
            raise Wrong("it ended well without a report")


TASKS: dict[str, type[Task]] = {task.name: task for task in (Fit, Search, Export)}


def timeless(rows: Any) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in TIMES} for row in rows]


def epochs(run: Run, whole: Run) -> set[str]:
    """The epochs up to the newest state that is whole. Raises `Wrong` where they went otherwise."""
    for state in run.states():
        try:
            rows = state.check(run.metrics, averaged=False)
        except KerasResNetError:
            continue
        if timeless(rows) != timeless(whole.metrics)[: state.epoch]:
            raise Wrong(f"the metrics up to epoch {state.epoch} of {run.path} are others")
        return {f"epoch {row['epoch']}" for row in rows}
    return set()


def versions(folder: Path) -> list[str]:
    """The exported versions that a server would see."""
    return sorted(path.name for path in (folder / "served" / NAME).glob("*") if path.name.isdigit())


def files_of(version: Path) -> set[str]:
    return {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}


def check_versions(folder: Path, whole: Path) -> None:
    """Raises `Wrong` where a version lacks a file, or has an empty one."""
    wanted = whole / "served" / NAME / "1"
    for number in versions(folder):
        version = folder / "served" / NAME / number
        if files_of(version) != files_of(wanted):
            raise Wrong(f"version {number} holds {', '.join(sorted(files_of(version)))}")
        sizes = [(version / name, wanted / name) for name in files_of(wanted)]
        if any(there.stat().st_size == 0 < real.stat().st_size for there, real in sizes):
            raise Wrong(f"version {number} holds an empty file")


def compare_exports(folder: Path, whole: Path) -> None:
    """Raises `Wrong` where the variables of any version are not those of the undisturbed one."""
    check_versions(folder, whole)
    variables = Path("variables", "variables.data-00000-of-00001")
    wanted = (whole / "served" / NAME / "1" / variables).read_bytes()
    for number in versions(folder):
        if (folder / "served" / NAME / number / variables).read_bytes() != wanted:
            raise Wrong(f"the variables of version {number} are others")


def weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .keras file."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(visit)
    return found


def compare_arrays(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Raises `Wrong` where they are not the same, bit for bit."""
    if found.keys() != wanted.keys():
        raise Wrong("it keeps another network")
    for name, array in found.items():
        if array.tobytes() != wanted[name].tobytes():
            raise Wrong(f"its weights {name} are others")
