"""Jobs on the nodes of a Ray cluster: Ray places them, notices what died, and runs it again."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kerasresnet.errors import KerasResNetError, UsageError, first_line
from tuning.engine.job import Died, Ended, Job, Stopped, run_job
from tuning.engine.local import Local

AUTO = "auto"  # the cluster that this machine is part of, or else one of this machine alone
COUNTED = 2.0  # seconds for which the number of slots is remembered


class Cluster:
    """Jobs that take `cpus` and `gpus` each, as many at once as the nodes have room for.

    Each runs in a process of its own, and again where that, or its node, dies.
    """

    def __init__(self, address: str = AUTO, cpus: float = 1.0, gpus: float = 0.0) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus
        self._running: dict[Any, str] = {}  # what Ray calls a job, and what it is called
        self._counted = (-math.inf, 0)  # when, and how many slots
        self._stopped = False
        self._here = Local(1, fresh=True)  # it is called once: nothing stays in memory here
        _connect(address)
        if not self.slots:
            self.stop()
            raise UsageError(
                f"no node of the Ray cluster ({address}) has {cpus:g} CPUs and {gpus:g} GPUs for a "
                "trial; ask for less with --cpus-per-trial and --gpus-per-trial, or add nodes"
            )

    @property
    def slots(self) -> int:
        """How many jobs the nodes that are alive have room for."""
        import ray

        then, number = self._counted
        if time.monotonic() - then > COUNTED:
            number = sum(self._room(node["Resources"]) for node in ray.nodes() if node["Alive"])
            self._counted = time.monotonic(), number
        return number

    def submit(
        self, name: str, function: Callable[..., Any], *arguments: Any, again: bool = True
    ) -> None:
        """Run `function(*arguments)` as soon as a node has room; `ended` tells how it went."""
        self._running[self._start(Job(name, function, arguments, again))] = name

    def ended(self, seconds: float) -> Iterator[Ended]:
        """The jobs that have ended, or the first that does so within `seconds`.

        Raises `Stopped` after `stop`.
        """
        import ray

        if not (waiting := list(self._running)):
            return
        try:
            done, _ = ray.wait(waiting, timeout=seconds)
            if done:
                done, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        except Exception:
            if self._stopped:
                raise Stopped from None
            raise
        for reference in done:
            yield self._result(reference, self._running.pop(reference))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run `function(*arguments)` once; returns what it returns, raises what it raised.

        Raises `Died` where its process or node ends.
        """
        started = self._start(Job("call", function, arguments, again=False))
        return self._result(started, "call").result()

    def call_here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`call`, on this machine."""
        return self._here.call(function, *arguments)

    def check_folder(self, folder: Path) -> None:
        """Raise `UsageError` where a node does not see what is in `folder`."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        mark = folder / f"aside-seen-{uuid.uuid4().hex}"
        mark.touch()
        try:
            for node in [node for node in ray.nodes() if node["Alive"]]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = ray.remote(run_job).options(num_cpus=0, scheduling_strategy=there)
                ended = self._result(task.remote(Job("look", sees, (mark,))), "look")
                if ended.error or not ended.value:
                    why = f" ({ended.error})" if ended.error else ""
                    raise UsageError(
                        f"node {node['NodeManagerAddress']} of the Ray cluster does not see "
                        f"{folder}{why}; give --search-dir on a file system that all nodes share"
                    )
        finally:
            mark.unlink(missing_ok=True)

    def stop(self, grace: float = 0.0) -> None:
        """End all that runs; another thread that waits for it gets `Stopped`."""
        import ray

        self._stopped = True
        self._here.stop()
        ray.shutdown()

    def _room(self, resources: dict[str, float]) -> int:
        asked = {"CPU": self.cpus, "GPU": self.gpus}
        return int(min(resources.get(kind, 0) // most for kind, most in asked.items() if most))

    def _start(self, job: Job) -> Any:
        import ray

        if self._stopped:
            raise Stopped
        # As many threads as cores of its own: TensorFlow takes all that a node has otherwise.
        threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, round(self.cpus)))}
        settings = {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "max_calls": 1,  # a fresh process each: nothing of a finished trial stays in memory
            "max_retries": -1 if job.again else 0,  # how often is for the job to say
            "runtime_env": {"env_vars": threads},
        }
        return ray.remote(**settings)(run_job).remote(job)

    def _result(self, reference: Any, name: str) -> Ended:
        import ray

        try:
            return ray.get(reference)._replace(name=name)
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
            return Ended(name, error=Died(first_line(error)))
        except ray.exceptions.RayError as error:
            if self._stopped:
                raise Stopped from None
            return Ended(name, error=KerasResNetError(str(error).strip().splitlines()[-1]))


def sees(path: Path) -> bool:
    """Whether this process sees a file."""
    return path.is_file()


def _connect(address: str) -> None:
    """Join the cluster at `address`; `AUTO`: the one that runs on this machine, or one of its own.

    One of its own listens on loopback only, without a dashboard, and asks for a token. Raises
    `UsageError` where there is no cluster, or no Ray, `KerasResNetError` where Ray does not start.
    """
    settings: dict[str, Any] = {"address": address}
    refusal = (
        "; start one with ray start, or forget one that has ended with ray stop; --ray takes auto "
        "or HOST:PORT"
    )
    if address == AUTO and not _runs_here():
        # Ray's own switch for clusters of one machine: else they listen on all addresses.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        settings = {"address": "local", "include_dashboard": False}
    elif address != AUTO and not _answers(address):  # Ray itself would try for minutes
        raise UsageError(f"no Ray cluster answers at {address}{refusal}")
    try:
        import ray
    except ImportError:
        raise UsageError('--ray needs Ray: pip install "kerasresnet[ray]"') from None
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # Ray raises plain ones, too
        told = (
            f"Ray does not start, or join the cluster at {address} ({first_line(error)}){refusal}"
        )
        raise KerasResNetError(told) from None


def _answers(address: str) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _runs_here() -> bool:
    """Whether Ray knows of a cluster that this machine is part of."""
    return bool(os.environ.get("RAY_ADDRESS")) or Path("/tmp/ray/ray_current_cluster").is_file()
