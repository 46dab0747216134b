"""How long a search takes to find a network that fills the budget, and how well it fills it.

python benchmarks/space.py --out benchmarks/space.json
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from kerasresnet.budget import count_parameters
from kerasresnet.errors import exit_on_error
from kerasresnet.options import parse
from kerasresnet.recipe import Recipe
from kerasresnet.run import write_json
from tuning.space import Space, narrow

LIMITS = (300_000, 1_000_000, 5_000_000)


@dataclass(frozen=True)
class SpaceOptions:
    """Samples of the default space: microseconds each, share of the limit that they use."""

    samples: int = 10_000
    """Samples in a round."""
    rounds: int = 5
    """Rounds of every limit, in turn."""
    out: Path | None = None
    """Where the figures go, as JSON."""


def measure(options: SpaceOptions) -> dict:
    """Microseconds a sample in every round, and deciles of the shares, for each limit."""
    spaces = {
        limit: Space(Recipe.named("quick").replace(max_params=limit), narrow({}))
        for limit in LIMITS
    }
    found = {limit: {"microseconds": [], "shares": []} for limit in LIMITS}
    for number in range(options.rounds):
        for limit, space in spaces.items():
            draw = random.Random(number)
            started = time.perf_counter()
            values = [space.sample(draw) for _ in range(options.samples)]
            seconds = time.perf_counter() - started
            found[limit]["microseconds"].append(round(1e6 * seconds / options.samples, 1))
            shares = [count_parameters(space.network(v)) / limit for v in values]
            found[limit]["shares"].append(
                {
                    "least": round(min(shares), 4),
                    "median": round(statistics.median(shares), 4),
                    "most": round(max(shares), 6),
                }
            )
    return {"samples": options.samples, "rounds": options.rounds, "limits": found}


def main() -> None:
    with exit_on_error("benchmarks/space.py"):
        options = parse(SpaceOptions, None, prog="python benchmarks/space.py")
        measured = measure(options)
        for limit, figures in measured["limits"].items():
            median = statistics.median(figures["microseconds"])
            print(f"{limit:,}: {median:.0f} µs a sample; shares {figures['shares'][0]}")
        if options.out:
            write_json(options.out, measured)


if __name__ == "__main__":
    main()
