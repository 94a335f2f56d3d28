"""The replica's end of the rank channel."""

import time
from collections import deque
from collections.abc import Sequence

import msgspec
import zmq

from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.frames import StepDone, decode_answer, encode
from cluster.channel.heartbeat import Heartbeats
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.errors import EngineDead

_LIVENESS_PERIOD_S = 0.1  # how soon it is noticed that a rank has gone
_MAX_OUTSTANDING_FRAMES = 16


class ZmqExecutor:
    """Sends every plan to every rank; implements `llama4coder.engine.executor.Executor`.

    The first rank answers each plan, the others speak only to say that they have failed. For one thread at a time,
    but for `check`. A rank that has gone, or whose process answers nothing for `heartbeat_timeout_s`, is dead whatever
    its step may still take.
    """

    def __init__(self, ranks: Sequence[Endpoint], heartbeat_timeout_s: float) -> None:
        self._heartbeats = Heartbeats(heartbeat_timeout_s)
        self._context = zmq.Context()
        self._sockets = [self._open(endpoint) for endpoint in ranks]
        self._poller = zmq.Poller()
        for socket in self._sockets:
            self._poller.register(socket, zmq.POLLIN)
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
        return bool(self._poller.poll(int(1000 * timeout_s)))

    def collect(self, timeout_s: float) -> StepResult:
        """See `Executor.collect`."""
        self._check()
        assert self._outstanding, "collect without submit"
        step_id = self._outstanding.popleft()
        result = self._receive(time.monotonic() + timeout_s)
        if result.step_id != step_id:
            raise self._die(f"a rank answered step {result.step_id} instead of {step_id}")
        return result

    def check(self) -> None:
        """Raise `EngineDead` if a rank has gone, though nobody waits for it; any thread."""
        if not self._heartbeats.are_all_there():
            raise EngineDead("a rank has gone")

    def close(self) -> None:
        """See `Executor.close`."""
        self._death = self._death or EngineDead("the executor is closed")
        self._heartbeats.close()
        for socket in self._sockets:
            socket.close(linger=0)
        self._context.term()

    def _open(self, endpoint: Endpoint) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.sndhwm = socket.rcvhwm = _MAX_OUTSTANDING_FRAMES
        self._heartbeats.watch(socket)
        connect(socket, endpoint)
        return socket

    def _receive(self, deadline_s: float) -> StepResult:
        """The next result, waiting in short turns; one that has arrived counts even if its rank has gone since."""
        while True:
            left_s = deadline_s - time.monotonic()
            if self.ready(max(0.0, min(left_s, _LIVENESS_PERIOD_S))):
                return self._read()
            if not self._heartbeats.are_all_there() and not self.ready(0.0):  # what it said before counts
                raise self._die("a rank has gone")
            if left_s <= 0:
                raise self._die("a rank did not answer a step in time")

    def _read(self) -> StepResult:
        """A frame that is there; if there are several, that of the first rank."""
        readable = dict(self._poller.poll(0))
        socket = next(socket for socket in self._sockets if socket in readable)
        try:
            answer = decode_answer(socket.recv())
        except msgspec.DecodeError as error:
            raise self._die(f"a rank sent a damaged answer: {error}") from error
        if not isinstance(answer, StepDone):
            raise self._die(f"a rank failed: {answer.error}")
        return answer.result

    def _check(self) -> None:
        if self._death is not None:
            raise self._death

    def _die(self, message: str) -> EngineDead:
        self._death = EngineDead(message)
        return self._death
