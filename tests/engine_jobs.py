"""Jobs that engines are tested with, in a module that their processes can import."""

import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

from kerasresnet.errors import UsageError


def double(number):
    return 2 * number


def say(word):
    print(word)
    return os.getpid()


def refuse(word):
    raise UsageError(f"{word} is no number")


def divide(number):
    return number / 0


class Unreadable:
    """An argument that a process sends off and no other can read."""

    def __reduce__(self):
        return divide, (1,)


def sleep(seconds, mark=None):
    """Sleep, and leave the file `mark` at its beginning, with this process's number."""
    if mark:
        Path(mark).write_text(str(os.getpid()))
    time.sleep(seconds)
    return seconds


def die(file, times, how=signal.SIGKILL):
    """End this process `times` times, counted in `file`; then say how often it was begun."""
    path = Path(file)
    begun = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(begun))
    if begun <= times:
        os.kill(os.getpid(), how)
        time.sleep(60)
    return begun


def grow():
    """Make this process one that has Keras loaded, and has grown."""
    grown = type("Growth", (), {"too_much": lambda self: True})
    sys.modules["keras"] = ModuleType("keras")
    sys.modules["tuning.engine.memory"] = ModuleType("tuning.engine.memory")
    sys.modules["tuning.engine.memory"].Growth = grown
    return os.getpid()


def leave(code):
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(code)


def write_at_ctrl_c(mark, file):
    try:
        sleep(60, mark)
    except KeyboardInterrupt:
        Path(file).write_text("written")
        sys.exit(130)


def sees_on_the_head_alone(path):
    """What a node sees of a folder that lies on the head's own disk; its id is in `head`."""
    import ray

    return ray.get_runtime_context().get_node_id() == (path.parent / "head").read_text()


def results(engine, number, seconds):
    """How the next `number` jobs of an engine ended, by name, within `seconds`."""
    found, end = {}, time.monotonic() + seconds
    while len(found) < number:
        assert time.monotonic() < end
        found |= {ended.name: ended for ended in engine.ended(1.0)}
    return found
