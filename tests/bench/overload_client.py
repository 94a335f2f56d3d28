"""One try of one request on a connection of its own; it costs little, since it shares the processor with the server."""

import asyncio
import time
from dataclasses import dataclass
from enum import Enum, auto

from tests.bench.overload_deck import Ask, LeaveAfter, LeaveMidStream

_EVENT = b"data: {"


class Ending(Enum):
    """Who ended a try."""

    SERVER = auto()  # it closed the connection
    US = auto()  # we left, as planned
    TIMEOUT = auto()  # nobody, until our patience ended
    NO_CONNECTION = auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """The raw answer to one try, and its times on the monotonic clock."""

    received: bytes
    ending: Ending
    sent_s: float
    ended_s: float
    first_event_s: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    port: int


async def try_once(address: Address, ask: Ask, timeout_s: float) -> Reply:
    """Send it and read until somebody ends it."""
    loop = asyncio.get_running_loop()
    sent_s = time.monotonic()
    try:
        _, attempt = await loop.create_connection(lambda: _Try(address, ask), address.host, address.port)
    except OSError as error:
        return Reply(str(error).encode(), Ending.NO_CONNECTION, sent_s, time.monotonic())
    patience_s = ask.departure.delay_s if isinstance(ask.departure, LeaveAfter) else timeout_s
    await asyncio.wait((attempt.ended,), timeout=patience_s)
    if not attempt.ended.done():
        attempt.leave(Ending.US if isinstance(ask.departure, LeaveAfter) else Ending.TIMEOUT)
        await attempt.ended
    return Reply(b"".join(attempt.received), attempt.ending, sent_s, time.monotonic(), attempt.first_event_s)


class _Try(asyncio.Protocol):
    def __init__(self, address: Address, ask: Ask) -> None:
        self.received: list[bytes] = []
        self.first_event_s: float | None = None
        self.ending = Ending.SERVER
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = _head(address, ask) + ask.body
        self._events_left = ask.departure.num_events if isinstance(ask.departure, LeaveMidStream) else None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        num_events = data.count(_EVENT)
        if num_events and self.first_event_s is None:
            self.first_event_s = time.monotonic()
        if self._events_left is not None:
            self._events_left -= num_events
            if self._events_left <= 0:
                self.leave(Ending.US)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(None)

    def leave(self, why: Ending) -> None:
        """Close at once; `ended` follows."""
        self.ending = why
        assert self._transport is not None
        self._transport.abort()


def _head(address: Address, ask: Ask) -> bytes:
    lines = [f"POST {ask.path} HTTP/1.1", f"Host: {address.host}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(ask.body)}"]
    return "\r\n".join([*lines, "", ""]).encode()
