"""The replica's end of the report channel: the same report for every ingress that asked for it."""

from collections.abc import Callable

import zmq

from cluster.channel.endpoint import Endpoint, connect
from cluster.channel.report_frames import encode_report
from llama4coder.router.messages import Report

_MAX_QUEUED_FRAMES = 16  # of no use when they are older than a few seconds
_WHOLE_EVERY = 32  # reports; heals whatever a router has come to believe
_LINGER_MS = 200


class _Link:
    """One ingress."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: Endpoint, now_s: float) -> None:
        self.asked_s = now_s
        self._num_following = 0
        self._needs_whole = True
        self._socket = context.socket(zmq.PUSH)
        self._socket.sndhwm = _MAX_QUEUED_FRAMES
        connect(self._socket, endpoint)

    def send(self, frame: Callable[[bool], bytes]) -> None:
        """Never waits: what the ingress does not take is lost, and the next report is a whole one."""
        is_whole = self._needs_whole or self._num_following >= _WHOLE_EVERY
        try:
            self._socket.send(frame(is_whole), zmq.NOBLOCK)
        except zmq.Again:
            self._needs_whole = True
            return
        self._needs_whole = False
        self._num_following = 0 if is_whole else self._num_following + 1

    def close(self) -> None:
        self._socket.close(linger=_LINGER_MS)


class ReportSender:
    """Links to ingresses, each kept for as long as it keeps asking; for one thread."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._context = zmq.Context()
        self._links: dict[Endpoint, _Link] = {}

    def ask(self, endpoint: Endpoint, now_s: float) -> None:
        """An ingress wants reports from now on, or still."""
        if endpoint in self._links:
            self._links[endpoint].asked_s = now_s
        else:
            self._links[endpoint] = _Link(self._context, endpoint, now_s)

    def send(self, report: Report, whole: Callable[[Report], Report], now_s: float) -> None:
        """Send a report to everybody who wants it; `whole` is asked, at most once, for what stands on its own."""
        for endpoint, link in list(self._links.items()):
            if now_s - link.asked_s > self._patience_s:
                self._links.pop(endpoint).close()
        frames: dict[bool, bytes] = {}

        def frame(is_whole: bool) -> bytes:
            if is_whole not in frames:
                frames[is_whole] = encode_report(whole(report) if is_whole else report)
            return frames[is_whole]

        for link in self._links.values():
            link.send(frame)

    def close(self) -> None:
        """Close every link after what is queued."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._context.term()
