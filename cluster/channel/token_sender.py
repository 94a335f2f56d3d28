"""The replica's end of the token channel: one frame per step and ingress."""

import asyncio
import threading
import time
from collections.abc import Sequence

import zmq

from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.frames import encode
from llama4coder.errors import QueueTimeout, StreamLost, Unavailable
from llama4coder.types import TokenEvent

_MAX_QUEUED_FRAMES = 2048  # about 20 s of steps that an ingress may fall behind
_LINGER_MS = 500
_IDLE_S = 300.0  # an ingress not heard of for this long has probably gone


class IngressSink:
    """Carries the events of all requests of one ingress; implements `llama4coder.engine.thread.EventSink`.

    `open` is called in the event loop and gives a future that ends with the request: with its last event, or with the
    error that ended it. `publish`, `reject` and `fail` are called in the engine's thread and never block.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: Endpoint) -> None:
        self._loop = asyncio.get_running_loop()
        self._endings: dict[str, asyncio.Future[TokenEvent]] = {}  # event loop only
        self._used_s = time.monotonic()
        self._lock = threading.Lock()  # hands the socket over from the engine's thread to whoever closes it
        self._socket = context.socket(zmq.PUSH)
        self._socket.sndhwm = _MAX_QUEUED_FRAMES
        connect(self._socket, endpoint)

    def open(self, request_id: str) -> asyncio.Future[TokenEvent]:
        """Expect the events of a request, and tell its ingress that the replica has it by one that is empty."""
        self._used_s = time.monotonic()
        ending = self._loop.create_future()
        self._endings[request_id] = ending
        self._send([TokenEvent(request_id, 0)])  # where it finds no room, the first token says as much
        return ending

    def forget(self, request_id: str) -> None:
        """The request is over, or nobody wants it any more."""
        self._endings.pop(request_id, None)

    def publish(self, events: Sequence[TokenEvent]) -> None:
        """See `EventSink.publish`; an ingress that does not take its tokens loses its requests."""
        if self._send(events):
            last = [event for event in events if event.finish_reason is not None]
            if last:
                self._loop.call_soon_threadsafe(self._finish, last)
        else:
            self._loop.call_soon_threadsafe(self._fail_all, StreamLost("the ingress does not take its tokens"))

    def reject(self, request_id: str, error: QueueTimeout) -> None:
        """See `EventSink.reject`; the ingress hears of it by the call's answer."""
        self._loop.call_soon_threadsafe(self._reject, request_id, error)

    def fail(self, error: Unavailable) -> None:
        """See `EventSink.fail`."""
        self._loop.call_soon_threadsafe(self._fail_all, error)

    def hand_over(self, error: Unavailable) -> None:
        """End every request with an error; in the event loop, while the engine goes on."""
        self._fail_all(error)

    @property
    def is_idle(self) -> bool:
        return not self._endings and time.monotonic() - self._used_s > _IDLE_S

    def close(self) -> None:
        """Close the socket after what is queued; any thread."""
        with self._lock:
            self._socket.close(linger=_LINGER_MS)

    def _send(self, events: Sequence[TokenEvent]) -> bool:
        with self._lock:
            if self._socket.closed:
                return False
            try:
                self._socket.send(encode(events), zmq.NOBLOCK)
            except zmq.Again:
                return False
        return True

    def _finish(self, events: list[TokenEvent]) -> None:
        for event in events:
            ending = self._endings.pop(event.request_id, None)
            if ending is not None and not ending.done():
                ending.set_result(event)

    def _reject(self, request_id: str, error: QueueTimeout) -> None:
        ending = self._endings.pop(request_id, None)
        if ending is not None and not ending.done():
            ending.set_exception(error)

    def _fail_all(self, error: Unavailable) -> None:
        endings, self._endings = self._endings, {}
        for ending in endings.values():
            if not ending.done():
                ending.set_exception(error)


class TokenSender:
    """The sinks of a replica, one per ingress; for the event loop."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._sinks: dict[Endpoint, IngressSink] = {}

    def sink(self, endpoint: Endpoint) -> IngressSink:
        """The sink of one ingress; those of ingresses that have gone are dropped on the way."""
        for other in [other for other, sink in self._sinks.items() if sink.is_idle and other != endpoint]:
            self._sinks.pop(other).close()
        if endpoint not in self._sinks:
            self._sinks[endpoint] = IngressSink(self._context, endpoint)
        return self._sinks[endpoint]

    def fail(self, error: Unavailable) -> None:
        """End every request with an error, while the engine goes on."""
        for sink in self._sinks.values():
            sink.hand_over(error)

    def close(self) -> None:
        """Close every socket; the engine's thread must have ended."""
        for sink in self._sinks.values():
            sink.close()
        self._sinks.clear()
        self._context.term()
