"""One process of a search: solo, chief or worker, as keras-tuner's environment variables say.

Started by `tuning.search`; `python -m tuning.search.engine.worker DIR` does the same without a live
picture. It ends with code 75 where it should be replaced by a fresh process, 76 where the disk is
full, 0 when the search is done.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kerasresnet.command import parse
from kerasresnet.disk import is_full
from kerasresnet.errors import KerasResNetError, UsageError, exit_on_error
from kerasresnet.machine import quiet_tensorflow
from tuning.search.engine.supervise import ERROR, FULL, RECYCLE, exit_with_parent
from tuning.search.project import Project

if TYPE_CHECKING:
    from tuning.search.images import SearchImages
    from tuning.search.oracle.oracle import BudgetedOracle


@dataclass(frozen=True)
class WorkerOptions:
    """Run the trials of a search, or hand them out, in this process."""

    search_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The directory of the search, as tuning.search made it."""
    data_dir: Path | None = None
    """Where TFDS keeps data sets (default: TFDS_DATA_DIR, else ~/tensorflow_datasets)."""
    verbose: bool = False
    """Show TensorFlow's own start-up messages."""


def role() -> str:
    """Solo, chief or worker, from keras-tuner's environment variables.

    Raises `UsageError` where only some of them are set.
    """
    names = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")
    given = [name for name in names if os.environ.get(name)]
    if not given:
        return "solo"
    if missing := [name for name in names if name not in given]:
        raise UsageError(
            f"{', '.join(missing)} must be set beside {', '.join(given)}: all three for a chief "
            "or a worker, none for a search in one process"
        )
    if not os.environ[names[1]].isdigit():
        raise UsageError(f"{names[1]} is a number, received {os.environ[names[1]]!r}")
    return "chief" if "chief" in os.environ[names[2]] else "worker"


def work(project: Project, data_dir: Path | None) -> int:
    """Do this process' part of the search; returns its exit code."""
    part = role()
    if part == "worker":
        return _run_trials(project, data_dir, with_chief=True)
    # An oracle of an earlier start that was killed may need a moment to end.
    with project.alone("oracle", wait=30.0):
        return _serve(project, data_dir) if part == "chief" else _run_trials(project, data_dir)


def _serve(project: Project, data_dir: Path | None) -> int:
    from tuning.search.engine.distributed import serve
    from tuning.search.images import search_images
    from tuning.search.oracle.oracle import build_oracle

    oracle = build_oracle(project.settings, project.space)
    if project.settings.max_epoch_seconds:
        _limit_time(oracle, project, search_images(project, data_dir))
    oracle.keep_ongoing = True  # its workers may be alive
    oracle._set_project_dir(project.path.parent, project.path.name)
    if project.started:
        oracle.reload()
    oracle.save()
    try:
        serve(oracle, os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"]))
    except UsageError:
        if not oracle.trials:  # it never began: other settings may be asked for
            (project.path / "oracle.json").unlink(missing_ok=True)
        raise
    return 0


def _limit_time(oracle: BudgetedOracle, project: Project, images: SearchImages) -> None:
    """Whoever holds the oracle draws, and therefore times what it draws."""
    from tuning.search.engine.timing import EpochTimes
    from tuning.search.oracle.time_limit import TimeLimit

    times = EpochTimes(project.path, images.train)
    oracle.time_limit = TimeLimit(times, project.settings.max_epoch_seconds)


def _run_trials(project: Project, data_dir: Path | None, *, with_chief: bool = False) -> int:
    from tuning.search.engine.memory import Growth
    from tuning.search.engine.tuner import ResumableTuner
    from tuning.search.images import search_images
    from tuning.search.oracle.oracle import build_oracle

    images = search_images(project, data_dir)
    settings, space = project.settings, project.space
    oracle = build_oracle(settings, space)
    tuner = ResumableTuner(oracle, project.path, space, settings.seed)
    beat = {}
    if with_chief:
        from tuning.search.engine.distributed import PatientClient

        tuner.oracle = PatientClient(oracle)
        tuner.oracle.connect()
        beat = {"heartbeat": tuner.oracle.heartbeat}
    elif settings.max_epoch_seconds:
        _limit_time(oracle, project, images)
    return 0 if tuner.search(images, enough=Growth().too_much, **beat) else RECYCLE


def main() -> None:
    with exit_on_error("tuning.search.engine.worker"):
        options = parse(WorkerOptions, None, prog="python -m tuning.search.engine.worker")
        exit_with_parent()
        project = Project.open(options.search_dir)
        quiet_tensorflow(options.verbose)
        try:
            with project.in_use():
                code = work(project, options.data_dir)
        except (KerasResNetError, OSError) as error:
            if not is_full(error):
                raise
            with contextlib.suppress(OSError):
                print(f"{ERROR}{error}", file=sys.stderr, flush=True)
            os._exit(FULL)  # the log has no room for what else there is to say
        sys.exit(code)


if __name__ == "__main__":
    main()
