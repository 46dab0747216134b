"""A process of this machine that runs one job after the other.

Started by `tuning.engine.local`: jobs come in pickled on standard input, answers go out on standard
output, and what a job prints goes where standard error goes. It ends with the process that started
it, however that ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import BinaryIO

from tuning.engine.job import Job, run_job


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    growth, job = None, jobs.get()
    _answer(answers, None)  # it can take jobs
    while True:
        ended = run_job(job)
        grown = False
        # What is only called, such as a look at the images, may come before anything is trained.
        if job.again and "keras" in sys.modules:
            from tuning.engine.memory import Growth

            growth = growth or Growth()
            grown = growth.too_much()
        _answer(answers, (ended, grown))
        job = jobs.get()


def _listen(pipe: BinaryIO, jobs: queue.SimpleQueue[Job]) -> None:
    """Take in jobs, also while one runs; the end of the pipe is that of the process behind it.

    A job that cannot be read ends this process: nobody would answer for it.
    """
    try:
        while True:
            jobs.put(pickle.load(pipe))
    except EOFError:
        pass
    except Exception:
        traceback.print_exc()
    os._exit(1)


def _answer(pipe: BinaryIO, answer: object) -> None:
    pickle.dump(answer, pipe)
    pipe.flush()
