"""Which trial comes next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuning.search.oracle.oracle import BudgetedOracle
    from tuning.search.project import Settings
    from tuning.search.space.space import Space


def build_oracle(settings: Settings, space: Space, folder: Path) -> BudgetedOracle:
    """The oracle that `settings.tuner` names, whose files are in `folder`."""
    from tuning.search.oracle.hyperband import HyperbandOracle
    from tuning.search.oracle.oracle import BayesianOracle, RandomOracle

    if settings.tuner == "hyperband":
        return HyperbandOracle(
            folder,
            space,
            seed=settings.seed,
            max_epochs=settings.max_epochs,
            factor=settings.factor,
            hyperband_iterations=settings.iterations,
        )
    asked = {"seed": settings.seed, "max_trials": settings.max_trials}
    if settings.tuner == "random":
        oracle = RandomOracle(folder, space, **asked)
    else:
        first = max(4, settings.max_trials // 3)
        oracle = BayesianOracle(folder, space, num_initial_points=first, **asked)
    oracle.epochs = settings.max_epochs
    return oracle
