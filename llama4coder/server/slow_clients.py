"""Clients that take their time, with sending or with reading, do not hold what others wait for."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama4coder.errors import BodyTooSlow

_DISCONNECT: Message = {"type": "http.disconnect"}


class SlowClients:
    """ASGI middleware: a body must be there after `timeout_s`, and who takes nothing for so long counts as gone."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, self._timeout_s)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.end()


class _Exchange:
    """One timer per turn of the limit, whatever is sent: one around every token would cost more than the token."""

    def __init__(self, receive: Receive, send: Send, timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._has_body = False
        self._sending_since_s: float | None = None
        self._stuck: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_s, self._look)

    async def receive(self) -> Message:
        if self._has_body:
            return await self._receive_until_stuck()
        try:
            async with asyncio.timeout_at(self._started_s + self._timeout_s):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(f"the request body did not arrive within {self._timeout_s:g} s") from None
        self._has_body = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """The last part has a limit of its own, as nobody receives any more; parts before end by `receive`."""
        self._sending_since_s = self._loop.time()
        if message["type"] == "http.response.start" or message.get("more_body", False):
            await self._send(message)
        else:
            await self._send_last(message)
        self._sending_since_s = None

    async def _send_last(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(message)
        except TimeoutError:
            raise ClientDisconnect from None

    def end(self) -> None:
        self._timer.cancel()

    async def _receive_until_stuck(self) -> Message:
        receiving = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait((receiving, self._stuck), return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else _DISCONNECT
        finally:
            receiving.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        left_s = self._timeout_s - (0.0 if self._sending_since_s is None else now_s - self._sending_since_s)
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif not self._stuck.done():
            self._stuck.set_result(None)
