"""Jobs in processes of this machine: started when there is work, replaced when they have grown or
died, never left behind."""

from __future__ import annotations

import collections
import contextlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kerasresnet.errors import KerasResNetError
from tuning.engine.job import Died, Ended, Job, Stopped

COMMAND = [sys.executable, "-c", "from tuning.engine.child import main; main()"]
CRASHES = 5  # processes that end before they take a job, one after the other: more would as well
DEATHS = 20  # of processes with one job, whatever the job itself allows


class Local:
    """Up to `slots` jobs side by side, each in a process of its own.

    What the processes print goes to `logs`/worker<n>.log, or nowhere special without `logs`. They
    take one job after the other until they have grown; `fresh` ones take one, and their logs are
    called after it. Where a process dies, its job is run again, if the job says so.
    """

    def __init__(self, slots: int, logs: Path | None = None, *, fresh: bool = False) -> None:
        self.slots = slots
        self._logs, self._fresh = logs, fresh
        self._waiting: collections.deque[Job] = collections.deque()
        self._done: collections.deque[Ended] = collections.deque()
        self._processes: dict[int, _Process] = {}  # by slot
        self._answers: queue.SimpleQueue[tuple[_Process, Any]] = queue.SimpleQueue()
        self._crashes = 0
        self._deaths: collections.Counter[str] = collections.Counter()  # by job
        self._starting = threading.Lock()
        self._stopped = False

    def submit(
        self, name: str, function: Callable[..., Any], *arguments: Any, again: bool = True
    ) -> None:
        """Run `function(*arguments)` as soon as a slot is free; `ended` tells how it went."""
        self._waiting.append(Job(name, function, arguments, again))

    def ended(self, seconds: float) -> Iterator[Ended]:
        """The jobs that have ended, or the first that does so within `seconds`.

        Raises `KerasResNetError` where processes end before they take any, `Stopped` after `stop`.
        """
        until = time.monotonic() + seconds
        while not self._done and (left := until - time.monotonic()) > 0:
            self._step(left)
        while self._done:
            yield self._done.popleft()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run `function(*arguments)` before all that waits, once; returns what it returns.

        Raises what `ended` does, `Died` where its process ends, and what the function raised.
        """
        self._waiting.appendleft(job := Job(f"call {id(arguments)}", function, arguments, False))
        while not (found := [ended for ended in self._done if ended.name == job.name]):
            self._step(1.0)
        self._done.remove(found[0])
        return found[0].result()

    call_here = call

    def stop(self, grace: float = 0.0) -> None:
        """End all processes: at once, or by Ctrl-C with `grace` seconds to write down what they
        have. Another thread that waits for them gets `Stopped`."""
        with self._starting:
            self._stopped = True
        for process in self._processes.copy().values():
            process.end(grace)
        self._answers.put((None, None))

    def _step(self, seconds: float) -> None:
        """Give out jobs, and take in one answer if it comes within `seconds`."""
        self._give_out()
        with contextlib.suppress(queue.Empty):
            process, answer = self._answers.get(timeout=seconds)
            if self._stopped:
                raise Stopped
            self._take(process, answer)

    def _give_out(self) -> None:
        for slot in range(self.slots):
            if not self._waiting:
                return
            process = self._processes.get(slot) or self._start(slot, self._waiting[0])
            if process.job is None:
                process.give(self._waiting.popleft())

    def _start(self, slot: int, job: Job) -> _Process:
        log = self._logs and self._logs / f"{job.name if self._fresh else f'worker{slot}'}.log"
        with self._starting:
            if self._stopped:
                raise Stopped
            self._processes[slot] = process = _Process(slot, log, self._answers)
        return process

    def _take(self, process: _Process, answer: tuple[Ended, bool] | _Gone | None) -> None:
        if answer is None:  # it has taken its first job
            self._crashes = 0
            process.started = True
        elif isinstance(answer, _Gone):
            if self._processes.get(process.slot) is process:
                del self._processes[process.slot]
                self._lost(process, answer)
        else:
            ended, grown = answer
            process.job = None
            self._done.append(ended)
            if grown or self._fresh:
                del self._processes[process.slot]
                process.end()

    def _lost(self, process: _Process, gone: _Gone) -> None:
        """A process has died: its job waits again, or has ended."""
        if not process.started:
            self._crashes += 1
            if self._crashes >= CRASHES:
                raise KerasResNetError(
                    f"{CRASHES} processes ended before they did anything, the last {gone}"
                )
        if (job := process.job) is None:
            return
        self._deaths[job.name] += process.started
        if self._deaths[job.name] > (DEATHS if job.again else 0):
            self._done.append(Ended(job.name, error=Died(f"its process {gone}")))
        else:
            self._waiting.appendleft(job)


class _Gone(str):
    """How a process ended, in words."""


class _Process:
    """One process; a thread puts what it says into `answers`, and at last how it ended."""

    def __init__(self, slot: int, log: Path | None, answers: queue.SimpleQueue) -> None:
        self.slot, self.log = slot, log
        self.job: Job | None = None
        self.started = False
        self._spoken = 0  # bytes in its log when it started
        with contextlib.ExitStack() as opened:
            output = None
            if log:
                log.parent.mkdir(exist_ok=True)
                output = opened.enter_context(log.open("ab"))
                self._spoken = output.tell()
            self._popen = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the parent, which ends them all
            )
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def give(self, job: Job) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # it has died: `answers` tells so
            pickle.dump(job, self._popen.stdin)
            self._popen.stdin.flush()

    def end(self, grace: float = 0.0) -> None:
        """End it, and wait until it has ended."""
        if grace and self.job:
            self._popen.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
        self._popen.kill()
        self._popen.wait()
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def _listen(self, answers: queue.SimpleQueue) -> None:
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                answers.put((self, pickle.load(self._popen.stdout)))
        code = self._popen.wait()
        self._popen.stdout.close()
        answers.put((self, _Gone(self._how(code))))

    def _how(self, code: int) -> str:
        """How it ended; the last line of its log since it started, and where more is."""
        if code < 0:
            how, last = f"ended by {signal.Signals(-code).name}", ""
        else:
            how, last = f"ended with exit code {code}", self._last_words()
        return how + (f": {last}" if last else "") + (f"; see {self.log}" if self.log else "")

    def _last_words(self) -> str:
        said = self.log.read_bytes()[self._spoken :] if self.log else b""
        return said.decode(errors="replace").strip().rpartition("\n")[2]
