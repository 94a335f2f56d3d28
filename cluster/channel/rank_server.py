"""The rank's end of the rank channel: one thread that executes plan after plan."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from cluster.channel.endpoint import Endpoint
from cluster.channel.frames import StepDone, StepFailed, decode_plan, encode
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.faults import log_fault

_STOP_POLL_MS = 100
_LINGER_MS = 1000  # the last word, a failure, must reach the replica

_log = logging.getLogger(__name__)


class RankServer:
    """Executes the plans of one replica, in order, in a thread of its own which owns the socket.

    The first step that fails is the last one: a rank whose step broke off no longer knows its sequences.
    """

    def __init__(
        self, execute: Callable[[StepPlan], StepResult], bind: Callable[["zmq.Socket[Any]"], Endpoint]
    ) -> None:
        self._execute = execute
        self._bind = bind
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
            if not socket.poll(_STOP_POLL_MS):
                continue
            answer = self._answer(socket.recv())
            try:
                socket.send(encode(answer), zmq.NOBLOCK)
            except zmq.Again:  # the replica has closed its end, for good
                return
            if isinstance(answer, StepFailed):
                return

    def _answer(self, frame: bytes) -> StepDone | StepFailed:
        try:
            return StepDone(self._execute(decode_plan(frame)))
        except msgspec.DecodeError as error:
            return StepFailed(f"damaged plan: {error}")
        except Exception as error:  # noqa: BLE001 - whatever broke the step, the replica must hear of it
            log_fault(_log, "a step failed", error)
            return StepFailed(type(error).__name__)
