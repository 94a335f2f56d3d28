"""A generation as an HTTP response that flows: as server-sent events, or as lines of JSON."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llama4coder.errors import Llama4CoderError
from llama4coder.faults import log_fault
from llama4coder.server.disconnect import while_connected
from llama4coder.server.errors import Refusal, to_refusal
from llama4coder.server.generation import Chunk, Generation, Usage, coalesce

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wire:
    """How frames travel; `keep_alive` may stand between any two of them and means nothing."""

    media_type: str
    keep_alive: bytes


SSE = Wire("text/event-stream", b": keep-alive\n\n")
# No line may be empty, since clients parse every one of them; white space before one is harmless.
JSON_LINES = Wire("application/x-ndjson", b" ")
STREAM_TYPES = (SSE.media_type, JSON_LINES.media_type)
_HEADERS = {
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would hold tokens back
}


def data_frame(data: bytes) -> bytes:
    """One event without a name; `data` is a single line, as JSON encoders write it."""
    return b"data: " + data + b"\n\n"


def named_frame(name: str, data: bytes) -> bytes:
    """One event with a name; `data` as in `data_frame`."""
    return b"event: " + name.encode() + b"\n" + data_frame(data)


def event_frame(event: msgspec.Struct) -> bytes:
    """A struct as one event under its own tag."""
    return named_frame(str(event.__struct_config__.tag), msgspec.json.encode(event))


class StreamFormat(Protocol):
    """A dialect's frames; called in order, once per chunk, then `end` or `error` once."""

    def chunk(self, chunk: Chunk) -> bytes: ...

    def end(self, usage: Usage) -> bytes: ...

    def error(self, refusal: Refusal) -> bytes: ...


class EventStream(Response):
    """A response that runs a generation and sends its chunks as they come.

    Nothing that has arrived is held back but by the format, during which keep-alives go out; what arrives while the
    client does not take what it was sent goes out as one chunk per choice. Headers wait for the first, `keep_alive_s`
    at most, so that a refusal is still an HTTP error: it is raised.
    After that a failure is an event. Leaves nothing running, however it ends.
    """

    def __init__(
        self, generation: Generation, stream_format: StreamFormat, keep_alive_s: float, wire: Wire = SSE
    ) -> None:
        # The base class's own __init__ is for bodies that are known beforehand.
        self.status_code = 200
        self.media_type = wire.media_type
        self.background = None
        self.init_headers(_HEADERS)
        self._generation = generation
        self._format = stream_format
        self._keep_alive_s = keep_alive_s
        self._keep_alive = wire.keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_or_leave(message: Message) -> None:
            try:
                await send(message)
            except OSError as error:  # how some servers say that the client has left
                raise ClientDisconnect from error

        await while_connected(receive, self._run(send_or_leave))

    async def _run(self, send: Send) -> None:
        async with self._generation as generation:
            chunks = await generation.next_chunks(self._keep_alive_s)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            last = await self._follow(chunks, send)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _follow(self, chunks: Sequence[Chunk], send: Send) -> bytes:
        """Send all but the last frames, which are returned."""
        quiet_since_s: float | None = None  # chunks come, and the format holds them back
        try:
            while True:
                body = b"".join(map(self._format.chunk, coalesce(chunks))) if chunks else self._keep_alive
                if self._generation.ended:
                    return body + self._format.end(self._generation.usage)
                if body:
                    quiet_since_s = None
                elif quiet_since_s is None:
                    quiet_since_s = time.monotonic()
                elif time.monotonic() - quiet_since_s >= self._keep_alive_s:
                    body, quiet_since_s = self._keep_alive, None
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                chunks = await self._generation.next_chunks(self._keep_alive_s)
        except Llama4CoderError as error:
            return self._format.error(to_refusal(error))
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the stream must not look complete after whatever failure
            log_fault(_log, "a request failed", error)
            return self._format.error(to_refusal(error))
