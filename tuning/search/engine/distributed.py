"""Chief and workers: keras-tuner's own protocol, with patience for whoever is away for a while."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from keras_tuner.errors import FatalError
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.engine.oracle import LOCKS, THREADS

from kerasresnet.errors import KerasResNetError, UsageError

HEARTBEAT = 5.0  # seconds between two signs of life of a worker
PATIENCE = 600.0  # seconds that a worker waits for a chief that went away
GOODBYE = 30.0  # seconds that a chief stays for a worker that is just being replaced
AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,  # the chief ended in the middle of the call
)
# gRPC's own pause between two attempts grows to 120 s: longer than a lease, so that a chief that
# comes back would take the trials of living workers. And without pings, a connection that a
# network dropped silently is used until the kernel gives it up, after about 15 minutes.
_CLIENT = (
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # 60 s otherwise, whatever the line above says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_SERVER = (
    ("grpc.so_reuseport", 0),  # a second chief at the same port is refused
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)


class ChiefError(KerasResNetError, FatalError):
    """The chief is gone or has failed: no fault of the trial, which keras-tuner must not end."""


class PatientClient(OracleClient):
    """A worker's side of the oracle: repeats what the chief did not answer.

    The chief's oracle takes everything twice without harm. Raises `ChiefError` where the chief is
    away for `PATIENCE` seconds, or tells of an error of its own.
    """

    def __init__(self, oracle: Any) -> None:
        super().__init__(oracle)
        self.address = ":".join(os.environ[f"KERASTUNER_ORACLE_{name}"] for name in ("IP", "PORT"))
        self.channel = grpc.insecure_channel(self.address, options=_CLIENT)
        self.stub = _PatientStub(protos.get_service_grpc().OracleStub(self.channel), self.address)

    def connect(self, seconds: float = 60.0) -> None:
        """Wait for the chief. Raises `UsageError` where none answers."""
        ready = grpc.channel_ready_future(self.channel)
        say = threading.Timer(5.0, _say, [f"no chief at {self.address} yet: waiting for it"])
        say.daemon = True
        say.start()
        try:
            ready.result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise UsageError(
                f"no chief answers at {self.address} (waited {seconds:.0f} s); start it first, and "
                "check KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT"
            ) from None
        finally:
            say.cancel()

    @contextlib.contextmanager
    def heartbeat(self, trial_id: str) -> Iterator[None]:
        """Tell the chief inside this, every few seconds, that the trial's worker is alive."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(ChiefError):  # what asks for trials will tell
                    self.get_trial(trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()


def _say(sentence: str) -> None:
    """A line in the worker's log."""
    print(sentence, file=sys.stderr, flush=True)


class _PatientStub:
    """keras-tuner's stub; each call is made again while the chief is away."""

    def __init__(self, stub: Any, address: str) -> None:
        self._stub, self._address = stub, address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._stub, name)

        def patiently(request: Any, **_: Any) -> Any:
            end, pause = time.monotonic() + PATIENCE, 0.2
            told = False
            while True:
                try:
                    return call(request, timeout=120)
                except grpc.RpcError as error:
                    if error.code() not in AWAY:
                        raise ChiefError(f"the chief says: {error.details()}") from None
                    if time.monotonic() > end:
                        raise ChiefError(
                            f"the chief at {self._address} has been away for {PATIENCE:.0f} s; "
                            "start it again, then this worker: nothing is lost"
                        ) from None
                if pause > 3 and not told:  # 6 s so far
                    told = True
                    _say(f"the chief at {self._address} is away: waiting {PATIENCE:.0f} s for it")
                time.sleep(pause)
                pause = min(2 * pause, 10.0)

        return patiently


class _Servicer(OracleServicer):
    """keras-tuner's, whose errors neither hold the oracle's lock for ever nor stay unheard."""

    error: BaseException | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return _told(self, found) if name[:1].isupper() else found


def _told(servicer: _Servicer, answer: Callable[..., Any]) -> Callable[..., Any]:
    def answered(request: Any, context: grpc.ServicerContext) -> Any:
        # A worker of another search, or of one that was cleared, is no reason for a chief to end.
        trial_id = _trial_id(request)
        if trial_id is not None and trial_id not in servicer.oracle.trials:
            if answer.__name__ == "EndTrial":
                return protos.get_service().EndTrialResponse()
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no trial {trial_id!r} in this search; is the worker part of another one?",
            )
        try:
            return answer(request, context)
        except Exception as error:
            _release(servicer.oracle)
            servicer.error = error
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")

    return answered


def _trial_id(request: Any) -> str | None:
    """The trial that a request is about, if it is about one."""
    names = request.DESCRIPTOR.fields_by_name
    if "trial" in names:
        return request.trial.trial_id
    return request.trial_id if "trial_id" in names else None


def _release(oracle: Any) -> None:
    """Undo keras-tuner's lock, which it keeps when a call raises."""
    if THREADS[oracle] == threading.current_thread().name:
        THREADS[oracle] = None
        LOCKS[oracle].release()


def serve(oracle: Any, address: str, port: int) -> None:
    """Hand out the trials of `oracle` at `address:port` until the search is over.

    Raises `UsageError` where the port is taken, and whatever a call of the oracle raised.
    """
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=_SERVER)
    servicer = _Servicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(f"{address}:{port}")
    except RuntimeError:
        raise UsageError(
            f"cannot listen at {address}:{port}: it is taken, or not an address of this machine; "
            "choose another KERASTUNER_ORACLE_PORT"
        ) from None
    server.start()
    try:
        _until_over(oracle, servicer)
    finally:
        _release(oracle)  # a call that waits for it would hold up the end of the process
        server.stop(grace=2).wait()
    if servicer.error is not None:
        raise servicer.error


def _until_over(oracle: Any, servicer: _Servicer) -> None:
    """Take back what dead workers left, until all is done or a call has failed."""
    told = None  # when the first worker heard that the search is over
    while servicer.error is None:
        time.sleep(0.5)
        oracle.take_back()
        if servicer.stop_triggered and not oracle.ongoing_trials:
            told = told or time.monotonic()
            if not oracle.tuner_ids or time.monotonic() - told > GOODBYE:
                break
