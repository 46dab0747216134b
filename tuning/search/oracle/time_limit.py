"""The limit of time: which networks train too slowly here to become trials."""

from __future__ import annotations

from collections.abc import Callable

from kerasresnet.errors import UsageError
from kerasresnet.recipe import Recipe

SLOW = 30  # networks over the limit, one after the other, after which no other is expected


class TimeLimit:
    """At most `most` seconds an epoch, by `epoch_seconds` of a recipe.

    What that cannot tell (None) is allowed: its trial will say why.
    """

    def __init__(self, epoch_seconds: Callable[[Recipe], float | None], most: float) -> None:
        self.epoch_seconds = epoch_seconds
        self.most = most
        self._slow: dict[str, float] = {}  # spec → seconds, of what was refused

    def allows(self, recipe: Recipe) -> bool:
        seconds = self.epoch_seconds(recipe)
        if seconds is None or seconds <= self.most:
            return True
        self._slow[recipe.spec.to_text()] = seconds
        return False

    def nothing_allowed(self, drawn: int) -> UsageError:
        """The error where all of `drawn` networks were refused."""
        quickest = min(self._slow, key=self._slow.__getitem__)
        return UsageError(
            f"none of {drawn} networks drawn trains an epoch in {self.most:g} s; the quickest, "
            f"{quickest}, takes {self._slow[quickest]:.3g} s: raise --max-epoch-seconds, lower "
            "--max-macs or --train-images, or narrow the space with --set"
        )
