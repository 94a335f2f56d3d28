"""Whether the peers of a channel are still there, however long they are busy.

libzmq asks and answers in threads of its own, which need no interpreter lock: a peer that computes for minutes answers,
one whose process is frozen, or whose node has gone, does not. A process that ends closes its connection.
"""

import threading
from typing import Any

import zmq

_ASKED_PER_TIMEOUT = 5
_GONE = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED  # whoever bound the address did so before it was told


class Heartbeats:
    """Watches sockets that connect to one peer each, once and for all; every method may be called from any thread."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()  # also hands the monitors over from thread to thread
        self._monitors: list[zmq.Socket[Any]] = []
        self._poller = zmq.Poller()
        self._is_one_gone = False

    def watch(self, socket: "zmq.Socket[Any]") -> None:
        """To be called before `socket` connects."""
        period_s = self._timeout_s / _ASKED_PER_TIMEOUT
        socket.heartbeat_ivl = int(1000 * period_s)
        socket.heartbeat_timeout = int(1000 * (self._timeout_s - period_s))  # from a question that nobody answers
        monitor = socket.get_monitor_socket(_GONE)
        with self._lock:
            self._monitors.append(monitor)
            self._poller.register(monitor, zmq.POLLIN)

    def are_all_there(self) -> bool:
        """Whether no peer has gone, or been silent for the timeout."""
        with self._lock:
            self._is_one_gone = self._is_one_gone or bool(self._poller.poll(0))
            return not self._is_one_gone

    def close(self) -> None:
        """Stop watching, to be called before the sockets are closed; idempotent."""
        with self._lock:
            for monitor in self._monitors:
                self._poller.unregister(monitor)
                monitor.close(linger=0)
            self._monitors.clear()
