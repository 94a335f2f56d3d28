"""Real sockets: the official client, broken HTTP, and clients that leave."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.server.serving import Address, Site, raw_exchange
from tests.support.fake_backend import Script

TEXT = "def add(first, second):"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(site: Site, address: Address) -> AsyncIterator[openai.AsyncOpenAI]:
    site.backend.script = Script(site.ids(TEXT))
    async with openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_the_official_client(client: openai.AsyncOpenAI, site: Site) -> None:
    assert [model.id async for model in client.models.list()] == ["org/tiny", "tiny"]
    assert (await client.models.retrieve("org/tiny")).id == "org/tiny"
    chat = await client.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=2)
    assert chat.choices[0].message.content == TEXT
    assert chat.choices[0].logprobs is not None and chat.choices[0].logprobs.content is not None
    assert len(chat.choices[0].logprobs.content) == len(site.ids(TEXT))
    completion = await client.completions.create(model="tiny", prompt="x", logprobs=2, extra_body={"top_k": 5})
    assert completion.choices[0].text == TEXT
    assert site.backend.requests[-1].sampling.top_k == 5


async def test_the_official_client_streams(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert chunks[-1].usage is not None
    completions = await client.completions.create(model="tiny", prompt="x", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in completions]) == TEXT


async def test_the_official_client_without_asyncio(client: openai.AsyncOpenAI, address: Address) -> None:
    texts: list[str] = []

    def talk() -> None:
        with openai.OpenAI(base_url=f"{address.url}/v1", api_key="none") as blocking:
            whole = blocking.chat.completions.create(model="tiny", messages=MESSAGES)
            texts.append(whole.choices[0].message.content or "")
            stream = blocking.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
            texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))

    thread = threading.Thread(target=talk)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert texts == [TEXT, TEXT]


async def test_errors_are_the_official_clients_own(client: openai.AsyncOpenAI, site: Site) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=10_000)
    assert bad.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="other", messages=MESSAGES)
    site.backend.script = Script(range(10, 20), death=RuntimeError("x"), death_after=2)
    with pytest.raises(openai.APIError, match="failed"):
        async for _ in await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True):
            pass


async def test_32_streams_at_once(client: openai.AsyncOpenAI, site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), delay_s=0.005)

    async def one() -> str:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert await asyncio.gather(*(one() for _ in range(32))) == [TEXT] * 32


def _post(body: dict[str, object], path: str = "/v1/completions") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("first_delay_s", [0.0, 60.0])
async def test_a_client_that_leaves_ends_its_sequences(
    site: Site, address: Address, stream: bool, n: int, first_delay_s: float
) -> None:
    site.backend.script = Script([10] * 200, first_delay_s=first_delay_s, delay_s=0.01)
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(_post({"model": "tiny", "prompt": "x", "stream": stream, "n": n}))
    await writer.drain()
    async with asyncio.timeout(5):
        while len(site.backend.running) < n:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.03)
    writer.close()
    await site.backend.until_idle()
    assert len(site.backend.aborted) == n
    async with asyncio.timeout(2):
        while site.metric("client_disconnects_total") != 1:
            await asyncio.sleep(0.005)
    assert site.metric("requests_total", api="completions", model="org/tiny", code="499") == 1
    assert site.metric("active_streams") == 0


async def test_a_client_that_leaves_while_it_sends(site: Site, address: Address) -> None:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(_post({"model": "tiny", "prompt": "x"})[:-5])
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    async with asyncio.timeout(2):
        while site.metric("client_disconnects_total") != 1:
            await asyncio.sleep(0.005)
    assert site.backend.requests == []


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([b"nonsense\r\n\r\n"], b" 400 "),
        ([b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"], b" 400 "),
        ([b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n"], b" 400 "),
        ([_post({"model": "tiny"})[:-14] + b'"prompt":"\xff"}   '], b" 400 "),
        (
            [
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"6\r\n" + b'{"a": ' + b"\r\n0\r\n\r\n",
            ],
            b" 400 ",
        ),
        (
            [
                b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 17000000\r\n\r\n",
                *[b"x" * 1_000_000] * 17,
            ],
            b" 413 ",
        ),
    ],
)
async def test_broken_http_is_answered_and_survived(
    site: Site, address: Address, parts: list[bytes], status: bytes
) -> None:
    assert status in (await raw_exchange(address, parts))[:20]
    assert b" 200 " in (await raw_exchange(address, [_post({"model": "tiny", "prompt": "x"})]))[:20]
