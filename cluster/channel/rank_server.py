"""The rank's end of the rank channel: one thread that executes plan after plan."""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from cluster.channel.endpoint import Endpoint
from cluster.channel.frames import StepDone, StepFailed, decode_plan, encode
from llama4coder.engine.executor import LaunchedStep
from llama4coder.engine.plan import StepPlan
from llama4coder.faults import log_fault

_STOP_POLL_MS = 100
_MAX_LAUNCHED = 2
_LINGER_MS = 1000  # the last word, a failure, must reach the replica

_log = logging.getLogger(__name__)


class RankServer:
    """Executes the plans of one replica, in order, in a thread of its own which owns the socket.

    `launch` gives a step to the device, and the plan after it is launched while the device still works. The first step
    that fails is the last one: a rank whose step broke off no longer knows its sequences.
    One rank of a replica `answers` with results; the others, whose results are the same, say only that they failed.
    """

    def __init__(
        self,
        launch: Callable[[StepPlan], LaunchedStep],
        bind: Callable[["zmq.Socket[Any]"], Endpoint],
        *,
        answers: bool = True,
    ) -> None:
        self._launch = launch
        self._bind = bind
        self._answers = answers
        self._launched: deque[LaunchedStep] = deque()
        self._stopping = threading.Event()
        self._bound = threading.Event()
        self._endpoint: Endpoint | zmq.ZMQError | None = None
        self._thread = threading.Thread(target=self._run, name="rank-server", daemon=True)

    def start(self) -> Endpoint:
        """Bind and begin to serve; returns where to connect. `OSError` if it cannot be bound."""
        self._thread.start()
        self._bound.wait()
        if isinstance(self._endpoint, Endpoint):
            return self._endpoint
        raise OSError(f"the rank channel could not be bound: {self._endpoint}")

    def join(self) -> None:
        """Wait until it serves no more: after `stop`, or after a failed step."""
        self._thread.join()

    def stop(self) -> None:
        """End after the current step; idempotent."""
        self._stopping.set()

    def _run(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        try:
            self._endpoint = self._bind(socket)
            self._bound.set()
            self._serve(socket)
        except zmq.ZMQError as error:
            _log.error("the rank channel failed: %s", error)
            self._endpoint = error
            self._bound.set()
        finally:
            socket.close(linger=_LINGER_MS)
            context.term()

    def _serve(self, socket: "zmq.Socket[Any]") -> None:
        while not self._stopping.is_set():
            try:
                self._turn(socket)
            except zmq.Again:  # the replica has closed its end, for good
                return
            except msgspec.DecodeError as error:
                self._fail(socket, f"damaged plan: {error}")
                return
            except Exception as error:  # noqa: BLE001 - whatever broke the step, the replica must hear of it
                log_fault(_log, "a step failed", error)
                self._fail(socket, type(error).__name__)
                return

    def _turn(self, socket: "zmq.Socket[Any]") -> None:
        """Answer the oldest step if it is done; else launch a plan if there is one.

        While the device works at one step, and only then, this looks for both without rest: a GPU waits for neither.
        """
        if self._launched and (len(self._launched) == _MAX_LAUNCHED or self._launched[0].is_done()):
            result = self._launched.popleft().result()
            if self._answers:
                socket.send(encode(StepDone(result)), zmq.NOBLOCK)
        elif socket.poll(0 if self._launched else _STOP_POLL_MS):
            self._launched.append(self._launch(decode_plan(socket.recv())))

    def _fail(self, socket: "zmq.Socket[Any]", reason: str) -> None:
        with contextlib.suppress(zmq.Again):
            socket.send(encode(StepFailed(reason)), zmq.NOBLOCK)
