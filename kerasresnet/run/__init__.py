"""A run: the directory that holds what one training produced."""

from kerasresnet.run.directory import Run, taken, versions

__all__ = ["Run", "taken", "versions"]
