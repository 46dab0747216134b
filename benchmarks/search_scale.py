"""What the process that searches costs itself, with many slots and many trials.

python benchmarks/search_scale.py --slots 100 --trials 500     a quick look
python benchmarks/search_scale.py --out benchmarks/search_scale.json   what docs/search.md says

Nothing is trained: trials end in a made-up order, with made-up scores, as soon as they are asked
for, so all time is that of the driver and its oracle: drawing networks inside the budget,
promoting, writing files (synced, as always). A trial's time is that of telling how it went and of
giving its slot another, by the processor, which other work on the machine hardly changes, and by
the clock, which it does.
"""

from __future__ import annotations

import heapq
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import write_json
from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.recipe import Recipe
from tuning.engine.job import Ended
from tuning.search.driver import Driver
from tuning.search.oracle import build_oracle
from tuning.search.oracle.brackets import plan_brackets
from tuning.search.project import Project, Settings
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space
from tuning.search.view.trials import SearchReader

MAX_EPOCHS, FACTOR = 81, 3
WINDOW = 100  # trials at the beginning and at the end whose times are compared


@dataclass(frozen=True)
class ScaleOptions:
    """The driver's own time a trial, its memory, and how both grow."""

    slots: int = 1_000
    """Trials that run side by side."""
    trials: int = 10_000
    """Trials that end."""
    tuner: Literal["hyperband", "random"] = "hyperband"
    """How choices are made."""
    max_params: int = 5_000_000
    """The most trainable parameters of a network."""
    quiet: bool = False
    """Say in the figures that nothing else ran on the machine."""
    out: Path | None = None
    """A JSON file for the figures."""


class MadeUpEngine:
    """Trains nothing: jobs end one by one, after made-up times, with made-up scores."""

    def __init__(self, slots: int, seed: int = 0) -> None:
        self.slots = slots
        self._draw, self._now = random.Random(seed), 0.0
        self._running: list[tuple[float, str]] = []  # when a job ends, and its name

    def submit(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        heapq.heappush(self._running, (self._now + self._draw.expovariate(1.0), name))

    def ended(self, seconds: float) -> Iterator[Ended]:
        self._now, name = heapq.heappop(self._running)
        yield Ended(name, self._draw.random())


def measure(options: ScaleOptions, folder: Path) -> dict[str, Any]:
    """Milliseconds a trial, MiB, and what a start and a look at the files cost at the end."""
    plan = plan_brackets(MAX_EPOCHS, FACTOR)
    settings = Settings(
        tuner=options.tuner,
        base="quick",
        max_params=options.max_params,
        max_epochs=MAX_EPOCHS,
        iterations=-(-(options.trials + options.slots) // plan.trials),
        max_trials=options.trials + options.slots,
    )
    base = Recipe.named("quick").replace(max_params=options.max_params, epochs=MAX_EPOCHS)
    space = Space(base, narrow({}))
    with Project.alone(folder / "search") as project:
        project = project.begin(settings, space)
        oracle = build_oracle(settings, space, project.path)
        engine = MadeUpEngine(options.slots)
        driver = Driver(project.path, oracle, engine)
        before, began = _memory(), time.perf_counter()
        driver.fill()
        filled = time.perf_counter() - began
        times: dict[str, list[float]] = {"processor": [], "clock": []}
        for _ in range(options.trials):
            (ended,) = engine.ended(0)
            before_it = time.process_time(), time.perf_counter()
            driver.record(ended)
            driver.fill()
            after = time.process_time(), time.perf_counter()
            for each, start, end in zip(times.values(), before_it, after, strict=True):
                each.append(1000 * (end - start))
        memory = _memory()
        return {
            "milliseconds": {
                name: {
                    "first": _said(each[:WINDOW]),
                    "last": _said(each[-WINDOW:]),
                    "all": _said(each),
                }
                for name, each in times.items()
            },
            "fill_seconds": round(filled, 2),
            "memory": {"start": before, "end": memory},
            "oracle_bytes": (project.path / "oracle.json").stat().st_size,
            "start_seconds": _seconds(build_oracle(settings, space, project.path).reload),
            "look_seconds": _seconds(SearchReader(project.path).read),
        }


def _memory() -> int:
    """Resident memory in MiB."""
    return round(psutil.Process().memory_info().rss / 2**20)


def _said(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {"median": round(statistics.median(ordered), 2), "p99": round(p99, 2)}


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return round(time.perf_counter() - began, 2)


def paragraph(found: dict[str, Any]) -> str:
    """What docs/search.md says of the figures."""
    processor, clock = found["milliseconds"]["processor"], found["milliseconds"]["clock"]
    every, first, last, memory = (
        *(processor[n] for n in ("all", "first", "last")),
        found["memory"],
    )
    busy = "quiet" if found["quiet"] else "busy with other work, which lengthens what a clock shows"
    return (
        "`benchmarks/search_scale.py` measures what that process costs itself, by made-up trials: "
        f"{found['trials']:,} of them on {found['slots']:,} slots ({found['tuner']}, on "
        f"{found['device']}, {busy}). Telling how a trial went and giving out the next took "
        f"{every['median']:.1f} ms of a processor (median; 99 % within {every['p99']:.1f} ms): "
        f"{first['median']:.1f} ms over the first {WINDOW}, {last['median']:.1f} ms over the last "
        f"{WINDOW}, when fewer were left to give out; by the clock {clock['all']['median']:.0f} "
        f"ms. Its memory went from {memory['start']:,} MiB, most of it TensorFlow's, to "
        f"{memory['end']:,} MiB; oracle.json had {found['oracle_bytes'] / 1000:.0f} kB at the end. "
        f"Going on with all of them took {found['start_seconds']:.0f} s by the clock, a first look "
        f"at their files {found['look_seconds']:.0f} s."
    )


def main() -> None:
    with exit_on_error("benchmarks/search_scale.py"):
        options = parse(ScaleOptions, None, prog="python benchmarks/search_scale.py")
        if options.slots < 1 or options.trials < WINDOW:
            raise UsageError(f"--slots is 1 or more, and --trials {WINDOW} or more")
        quiet_tensorflow()
        from kerasresnet.machine import describe_device
        from kerasresnet.run import versions

        names = ("slots", "trials", "tuner", "max_params", "quiet")
        about = {name: getattr(options, name) for name in names}
        about |= {"device": describe_device(), "versions": versions()}
        with tempfile.TemporaryDirectory(prefix="kerasresnet-scale-") as folder:
            figures = about | measure(options, Path(folder))
        print(paragraph(figures))
        if options.out:
            write_json(options.out, figures)


if __name__ == "__main__":
    main()
