"""The replica's end of the draft channel: one thread that drafts for all targets together."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import zmq

from cluster.channel.draft_frames import decode_news, encode_answer
from cluster.channel.endpoint import Endpoint
from llama4coder.errors import EngineDead
from llama4coder.faults import log_fault
from llama4coder.obs.pool import DraftObserver
from llama4coder.spec.pool_host import PoolHost
from llama4coder.spec.pool_messages import Answer

_POLL_MS = 100
_MAX_QUEUED_FRAMES = 1024  # of all targets together
_LINGER_MS = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DraftLoad:
    """What a server has done since its start, and what it has to do."""

    busy_s: float
    num_sessions: int


class DraftServer:
    """Serves a `PoolHost` in a thread of its own, which owns the socket.

    Each turn reads all news that have come, drafts once for all of them, and answers. Damaged frames are ignored.
    """

    def __init__(self, host: PoolHost, bind: Callable[["zmq.Socket[Any]"], Endpoint], observer: DraftObserver) -> None:
        self._host = host
        self._bind = bind
        self._observer = observer
        self._peers: dict[str, bytes] = {}  # targets, by the name that the socket has for them
        self._is_drafting = False
        self._busy_s = 0.0
        self._draining = threading.Event()
        self._stopping = threading.Event()
        self._bound = threading.Event()
        self._endpoint: Endpoint | None = None
        self._failure: EngineDead | None = None
        self._thread = threading.Thread(target=self._run, name="draft-server", daemon=True)

    def start(self) -> Endpoint:
        """Bind and begin to serve; returns where to connect. `EngineDead` if it cannot be bound."""
        self._thread.start()
        self._bound.wait()
        self.check()
        assert self._endpoint is not None, "bound, or failed"
        return self._endpoint

    @property
    def load(self) -> DraftLoad:
        """Any thread."""
        return DraftLoad(self._busy_s, self._host.num_sessions)

    def check(self) -> None:
        """Raise `EngineDead` if it drafts no more; any thread."""
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Tell every target that this replica will soon be gone; idempotent, any thread."""
        self._draining.set()

    def stop(self) -> None:
        """End after the current round; idempotent, any thread."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until it serves no more: after `stop`, or after a failure."""
        self._thread.join()

    def _run(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.ROUTER)
        socket.sndhwm = socket.rcvhwm = _MAX_QUEUED_FRAMES
        try:
            self._endpoint = self._bind(socket)
            self._bound.set()
            self._serve(socket)
        except Exception as error:  # noqa: BLE001 - whatever broke the drafter, the replica must be replaced
            log_fault(_log, "the draft server failed", error)
            self._failure = EngineDead(f"the draft server failed: {type(error).__name__}")
        finally:
            self._bound.set()
            socket.close(linger=_LINGER_MS)
            context.term()

    def _serve(self, socket: "zmq.Socket[Any]") -> None:
        is_drained = False
        while not self._stopping.is_set():
            if self._draining.is_set() and not is_drained:
                is_drained = True
                self._send(socket, self._host.drain())
            self._turn(socket)

    def _turn(self, socket: "zmq.Socket[Any]") -> None:
        """Read, draft and answer; wait for news only if there was nothing left to draft."""
        if socket.poll(0 if self._is_drafting else _POLL_MS):
            self._read(socket)
        started_s = time.monotonic()
        answers = self._host.round(started_s)
        self._send(socket, answers)
        self._is_drafting = any(answer.forecasts for answer in answers.values())
        if self._is_drafting:
            round_s = time.monotonic() - started_s
            self._busy_s += round_s
            self._observer.on_draft_round(round_s)
        self._observer.on_draft_sessions(self._host.num_sessions)

    def _read(self, socket: "zmq.Socket[Any]") -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                peer, *frames = socket.recv_multipart(zmq.NOBLOCK)
                self._take(peer, frames)

    def _take(self, peer: bytes, frames: Sequence[bytes]) -> None:
        try:
            (frame,) = frames
            news = decode_news(frame)
        except (ValueError, msgspec.DecodeError):
            self._observer.on_draft_frame_ignored()
            return
        self._peers[news.target] = peer
        self._host.receive(news, time.monotonic())

    def _send(self, socket: "zmq.Socket[Any]", answers: Mapping[str, Answer]) -> None:
        """Answer; what a target does not take is lost."""
        for target, answer in answers.items():
            with contextlib.suppress(zmq.Again):
                socket.send_multipart([self._peers[target], encode_answer(answer)], zmq.NOBLOCK)
        self._peers = {target: self._peers[target] for target in self._host.targets}
