"""What the commands do, from Python: train, and runs that are opened, measured, exported, shown."""

from kerasresnet.python.begin import train
from kerasresnet.python.opened import OpenedRun, open_run

__all__ = ["OpenedRun", "open_run", "train"]
