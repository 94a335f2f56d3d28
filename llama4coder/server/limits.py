"""How large a request body may be."""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama4coder.errors import BodyTooLarge, InvalidRequest

_DRAIN_TIMES_LIMIT = 4
_DRAIN_TIMEOUT_S = 5.0


class BodyLimit:
    """ASGI middleware: reading a body over the limit raises `BodyTooLarge`, declared or not.

    The rest of a body that is not much too large is read and thrown away, since a client that is still sending when
    the connection closes does not see the answer.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared_bytes = Headers(scope=scope).get("content-length", "0")
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            if not (declared_bytes.isascii() and declared_bytes.isdigit()):
                raise InvalidRequest("the content-length header is not a number", "content-length")
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if max(num_bytes, int(declared_bytes[:20])) > self._max_body_bytes:
                await self._drain(receive, message, num_bytes)
                raise BodyTooLarge(f"the request body is over the limit of {self._max_body_bytes} bytes")
            return message

        await self._app(scope, limited, send)

    async def _drain(self, receive: Receive, message: Message, num_bytes: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                while message.get("more_body") and num_bytes <= _DRAIN_TIMES_LIMIT * self._max_body_bytes:
                    message = await receive()
                    num_bytes += len(message.get("body", b""))
