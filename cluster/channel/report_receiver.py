"""The ingress' end of the report channel."""

import asyncio
import logging
from collections.abc import Callable

import msgspec
import zmq
import zmq.asyncio

from cluster.channel.endpoint import Endpoint, bind_encrypted
from cluster.channel.report_frames import decode_report
from cluster.tasks import cancel
from llama4coder.router.messages import Report

_log = logging.getLogger(__name__)


class ReportReceiver:
    """One bound socket for the reports of all replicas; for the event loop that created it.

    `on_report` raises `ValueError` for a report that is damaged; such reports, and damaged frames, are ignored.
    """

    def __init__(self, host: str, on_report: Callable[[Report], None]) -> None:
        self._on_report = on_report
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.PULL)
        self.endpoint: Endpoint = bind_encrypted(self._socket, host)
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        """Close the socket."""
        await cancel(self._reader)
        self._socket.close(linger=0)
        self._context.term()

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv()
            try:
                self._on_report(decode_report(frame))
            except (msgspec.DecodeError, ValueError):
                _log.warning("a damaged report was ignored")
