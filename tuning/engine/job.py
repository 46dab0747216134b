"""What an engine is given and gives back: a function with its arguments, and how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from kerasresnet.disk import NoRoom, is_full
from kerasresnet.errors import KerasResNetError, UsageError, first_line


class Job(NamedTuple):
    """A function that another process can import, by its name, and what it is called with."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    again: bool = True
    """Whether it is run again where its process died; how often, is for the function to say."""


class Ended(NamedTuple):
    """What a job returned, or why it did not."""

    name: str
    value: Any = None
    error: KerasResNetError | None = None

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error:
            raise self.error
        return self.value


class Engine(Protocol):
    """Where jobs run. Placing them, noticing what died, and running it again is its business."""

    slots: int
    """How many jobs run side by side, at present."""

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Run `function(*arguments)` as soon as a slot is free; `ended` tells how it went."""

    def ended(self, seconds: float) -> Iterable[Ended]:
        """The jobs that have ended, or the first that does so within `seconds`."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run `function(*arguments)` once, now; returns or raises what it does."""

    def call_here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`call`, on this machine."""

    def stop(self) -> None:
        """End all that runs."""


class Stopped(Exception):
    """The engine was stopped: what still runs is of no use."""


class Died(KerasResNetError):
    """The process of a job ended before the job did."""


def run_job(job: Job) -> Ended:
    """Run a job in this process. What it raises comes back as a sentence that any process can read.

    The traceback of what is no error of ours is printed: into the log, where there is one.
    """
    try:
        return Ended(job.name, job.function(*job.arguments))
    except KerasResNetError as error:
        kinds = (kind for kind in (NoRoom, UsageError) if isinstance(error, kind))
        return Ended(job.name, error=next(kinds, KerasResNetError)(str(error)))
    except Exception as error:
        if is_full(error):
            told = f"the disk is full ({first_line(error)}); free some"
            return Ended(job.name, error=NoRoom(told))
        traceback.print_exc()
        told = KerasResNetError(f"{type(error).__name__}: {first_line(error)}")
        return Ended(job.name, error=told)
