"""The way from a target to one replica of the draft pool and back."""

import contextlib
from collections.abc import Sequence
from typing import Protocol

import zmq

from cluster.channel.endpoint import Endpoint, connect

_MAX_QUEUED_FRAMES = 64  # of no use when they are older than a few steps


class Link(Protocol):
    """Carries frames both ways, and may lose any of them; for one thread. Nothing here waits."""

    def send(self, frame: bytes) -> None: ...

    def receive(self) -> Sequence[bytes]:
        """Everything that has arrived since the last call."""
        ...

    def close(self) -> None: ...


class Links(Protocol):
    """Makes links; whoever closes it has closed them before."""

    def connect(self, endpoint: Endpoint) -> Link: ...

    def close(self) -> None: ...


class ZmqLinks:
    """Implements `Links`."""

    def __init__(self) -> None:
        self._context = zmq.Context()

    def connect(self, endpoint: Endpoint) -> Link:
        """See `Links.connect`."""
        return ZmqLink(self._context, endpoint)

    def close(self) -> None:
        """See `Links.close`; idempotent."""
        self._context.term()


class ZmqLink:
    """A socket of its own: a replica that takes no frames loses its own only."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: Endpoint) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.sndhwm = self._socket.rcvhwm = _MAX_QUEUED_FRAMES
        connect(self._socket, endpoint)

    def send(self, frame: bytes) -> None:
        """See `Link.send`."""
        with contextlib.suppress(zmq.Again):
            self._socket.send(frame, zmq.NOBLOCK)

    def receive(self) -> Sequence[bytes]:
        """See `Link.receive`."""
        frames: list[bytes] = []
        with contextlib.suppress(zmq.Again):
            while len(frames) < _MAX_QUEUED_FRAMES:
                frames.append(self._socket.recv(zmq.NOBLOCK))
        return frames

    def close(self) -> None:
        """See `Link.close`."""
        self._socket.close(linger=0)
