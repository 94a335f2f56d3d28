"""Bodies that do not come and answers that nobody takes, without a socket between."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from llama4coder.server.slow_clients import SlowClients
from tests.server.serving import MakeSite

HTTP = {"type": "http"}
BODY: Message = {"type": "http.request", "body": b"x", "more_body": False}


async def one_body() -> Message:
    return BODY


async def never(_: Message | None = None) -> None:
    await asyncio.sleep(30)


async def test_a_body_in_many_small_parts_is_not_waited_for(make_site: MakeSite) -> None:
    site = make_site(client_timeout_s=1)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.1)

    started_s = time.monotonic()
    for path, code in (("/v1/completions", "body_too_slow"), ("/v1/messages", None)):
        answer = await site.client.post(path, content=drip())
        assert answer.status_code == 408
        assert "within 1 s" in answer.json()["error"]["message"]
        assert answer.json()["error"].get("code") == code
    assert time.monotonic() - started_s < 4


async def test_a_part_that_is_not_taken_counts_as_leaving() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        sending = asyncio.create_task(send({"type": "http.response.body", "body": b"x", "more_body": True}))
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect", "for good"
        assert not sending.done()
        sending.cancel()

    received = iter([one_body, never, never])

    async def receive() -> Message:
        return await next(received)()  # type: ignore[return-value]

    await asyncio.wait_for(SlowClients(app, 0.05)(HTTP, receive, never), 2)


async def test_a_last_part_that_is_not_taken_counts_as_leaving() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(SlowClients(app, 0.05)(HTTP, one_body, never), 2)


async def test_silence_of_the_server_is_not_the_clients() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        receiving = asyncio.create_task(receive())
        for _ in range(10):
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert not receiving.done()
        receiving.cancel()

    received = iter([one_body, never])

    async def receive() -> Message:
        return await next(received)()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    await SlowClients(app, 0.05)(HTTP, receive, send)
