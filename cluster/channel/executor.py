"""The replica's end of the rank channel."""

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import zmq

from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.frames import StepDone, decode_answer, encode
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.errors import EngineDead

_LIVENESS_PERIOD_S = 0.1  # how soon a vanished rank is noticed
_MAX_OUTSTANDING_FRAMES = 16


class ZmqExecutor:
    """Sends every plan to every rank and waits for all of them; implements `llama4coder.engine.executor.Executor`.

    For one thread at a time. `is_alive` must be quick and safe to call from that thread; it tells of a rank that has
    gone before its silence would.
    """

    def __init__(self, ranks: Sequence[Endpoint], is_alive: Callable[[], bool]) -> None:
        self._is_alive = is_alive
        self._context = zmq.Context()
        self._sockets = [self._open(endpoint) for endpoint in ranks]
        self._outstanding: deque[int] = deque()  # step ids
        self._death: EngineDead | None = None

    def submit(self, plan: StepPlan) -> None:
        """See `Executor.submit`."""
        self._check()
        frame = encode(plan)
        for socket in self._sockets:
            try:
                socket.send(frame, zmq.NOBLOCK)
            except zmq.Again:
                raise self._die("a rank takes no more plans") from None
        self._outstanding.append(plan.step_id)

    def ready(self, timeout_s: float) -> bool:
        """See `Executor.ready`."""
        deadline_s = time.monotonic() + timeout_s
        return all(socket.poll(int(1000 * max(0.0, deadline_s - time.monotonic()))) for socket in self._sockets)

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`; the result is that of the first rank, once every rank has answered."""
        self._check()
        assert self._outstanding, "collect without submit"
        step_id = self._outstanding.popleft()
        deadline_s = time.monotonic() + timeout_s
        results = [self._receive(socket, step_id, deadline_s) for socket in self._sockets]
        return results[0]

    def close(self) -> None:
        """See `Executor.close`."""
        self._death = self._death or EngineDead("the executor is closed")
        for socket in self._sockets:
            socket.close(linger=0)
        self._context.term()

    def _open(self, endpoint: Endpoint) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.sndhwm = socket.rcvhwm = _MAX_OUTSTANDING_FRAMES
        connect(socket, endpoint)
        return socket

    def _receive(self, socket: "zmq.Socket[bytes]", step_id: int, deadline_s: float) -> StepResult:
        self._await_frame(socket, deadline_s)
        try:
            answer = decode_answer(socket.recv())
        except msgspec.DecodeError as error:
            raise self._die(f"a rank sent a damaged answer: {error}") from error
        if not isinstance(answer, StepDone):
            raise self._die(f"a rank failed: {answer.error}")
        if answer.result.step_id != step_id:
            raise self._die(f"a rank answered step {answer.result.step_id} instead of {step_id}")
        return answer.result

    def _await_frame(self, socket: "zmq.Socket[bytes]", deadline_s: float) -> None:
        """Wait in short turns; an answer that has arrived counts even if its rank has gone since."""
        while True:
            left_s = deadline_s - time.monotonic()
            if socket.poll(int(1000 * max(0.0, min(left_s, _LIVENESS_PERIOD_S)))):
                return
            if not self._is_alive():
                raise self._die("a rank has gone")
            if left_s <= 0:
                raise self._die("a rank did not answer a step in time")

    def _check(self) -> None:
        if self._death is not None:
            raise self._death

    def _die(self, message: str) -> EngineDead:
        self._death = EngineDead(message)
        return self._death
