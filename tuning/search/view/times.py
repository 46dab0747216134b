"""What an epoch of each network takes, as timed before its trial began, and what was too slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.search.view.trials import Search


def epoch_seconds(search: Search) -> dict[str, float]:
    """Spec → seconds of training an epoch, of every network that was timed, in that order."""
    rows = (row for row in search.times if "step_seconds" in row)
    return {row["spec"]: row["steps"] * row["step_seconds"] for row in rows}


def too_slow(search: Search) -> dict[str, float]:
    """The same of those over the limit: others were drawn instead."""
    most = search.settings.get("max_epoch_seconds")
    return {s: t for s, t in epoch_seconds(search).items() if most is not None and t > most}


def timed_now(search: Search) -> str | None:
    """The spec that is being timed, if one is."""
    pending: list[Mapping[str, Any]] = [row for row in search.times if "timed_by" in row]
    return pending[-1]["spec"] if pending else None


def described_times(search: Search) -> str:
    """How many networks were timed and refused, in one phrase; empty where there is no limit."""
    most = search.settings.get("max_epoch_seconds")
    if most is None:
        return ""
    timed, slow = len(epoch_seconds(search)), len(too_slow(search))
    return f"{timed} networks timed, {slow} over {most:g} s an epoch and drawn again"
