"""How long a search takes to find a network that fills the budget, and how well it fills it.

python benchmarks/space.py                              half a minute
python benchmarks/space.py --out benchmarks/space.json  the figures as a file

The limits take turns, round after round, each round with a seed of its own. A sample is a choice
whose network has been solved for and counted; one core, no Keras, no files, so processor time is
taken: other work on the machine is not counted. Printed are medians over the rounds, and the
shares of the limit over all samples.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasresnet.command import exit_on_error, parse
from kerasresnet.disk import write_json
from kerasresnet.errors import UsageError
from kerasresnet.machine import quiet_tensorflow
from kerasresnet.network.budget import count_parameters
from kerasresnet.recipe import Recipe
from kerasresnet.run import versions
from tuning.search.space.choices import narrow
from tuning.search.space.space import Space

LIMITS = (300_000, 1_000_000, 5_000_000)
QUANTILES = (0.0, 0.01, 0.1, 0.5, 0.9, 1.0)
GOAL = 200  # microseconds a sample


@dataclass(frozen=True)
class SpaceOptions:
    """Samples of the default space: microseconds each, share of the limit that they use."""

    samples: int = 10_000
    """Samples in a round."""
    rounds: int = 5
    """Rounds of every limit, in turn."""
    out: Path | None = None
    """A JSON file for the figures of every round."""


def one_round(space: Space, seed: int, samples: int) -> tuple[float, list[float]]:
    """Microseconds of processor time a sample, and the share of the limit that each uses."""
    draw = random.Random(seed)
    started = time.process_time()
    chosen = [space.sample(draw) for _ in range(samples)]
    seconds = time.process_time() - started
    limit = space.base.max_params
    shares = [count_parameters(space.network(values)) / limit for values in chosen]
    return 1e6 * seconds / samples, shares


def quantiles(shares: list[float]) -> dict[str, float]:
    """The shares at `QUANTILES`: 0 is the least, 1 the most, fine enough for one parameter."""
    ordered = sorted(shares)
    return {f"{q:g}": round(ordered[round(q * (len(ordered) - 1))], 9) for q in QUANTILES}


def measure(options: SpaceOptions) -> dict[str, Any]:
    """For each limit the microseconds a sample of every round, and quantiles of the shares."""
    base, dimensions = Recipe.named("quick"), narrow({})
    spaces = {limit: Space(base.replace(max_params=limit), dimensions) for limit in LIMITS}
    times: dict[int, list[float]] = {limit: [] for limit in LIMITS}
    shares: dict[int, list[float]] = {limit: [] for limit in LIMITS}
    for seed in range(options.rounds):
        for limit, space in spaces.items():
            microseconds, used = one_round(space, seed, options.samples)
            times[limit].append(round(microseconds, 1))
            shares[limit] += used
    return {
        "samples": options.samples,
        "rounds": options.rounds,
        "limits": {
            limit: {"microseconds": times[limit], "shares": quantiles(shares[limit])}
            for limit in LIMITS
        },
    }


def print_figures(limits: dict[int, dict[str, Any]]) -> None:
    """A row for each limit, and whether the goals that the project set itself are met."""
    heads = "".join(f"{f'{q:.0%}':>9}" for q in QUANTILES)
    print(f"{'limit':>10} {'µs a sample':>12} {'least':>7} {'most':>7}   share of it at:{heads}")
    for limit, figures in limits.items():
        times, shares = figures["microseconds"], figures["shares"]
        row = f"{limit:10,} {statistics.median(times):12.1f} {min(times):7.1f} {max(times):7.1f}"
        print(row + " " * 18 + "".join(f"{share:9.2%}" for share in shares.values()))
    for limit, figures in limits.items():
        middle, shares = statistics.median(figures["microseconds"]), figures["shares"]
        verdict = "yes" if middle < GOAL else "NO"
        print(f"{verdict:3} {limit:,}: {middle:.0f} of {GOAL} µs a sample")
        inside = shares["0"] >= 0.95 and shares["1"] <= 1
        verdict = "yes" if inside and shares["0.5"] >= 0.97 else "NO"
        print(f"{verdict:3} {limit:,}: none over the limit or below 95 %, median at least 97 %")


def main() -> None:
    with exit_on_error("benchmarks/space.py"):
        options = parse(SpaceOptions, None, prog="python benchmarks/space.py")
        if options.samples < 1 or options.rounds < 1:
            raise UsageError("--samples and --rounds are 1 or more")
        measured = measure(options)
        print_figures(measured["limits"])
        if options.out:
            quiet_tensorflow()
            from kerasresnet.machine import describe_device

            about = {"device": describe_device(), "versions": versions()}
            write_json(options.out, {**about, **measured})


if __name__ == "__main__":
    main()
