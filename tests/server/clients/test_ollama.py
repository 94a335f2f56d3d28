"""Ollama's own client against a real socket."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import ollama
import pytest

from llama4coder.errors import Overloaded
from tests.server.serving import Address, MakeSite, Site, listening
from tests.support.fake_backend import Script

TEXT = "def add(first, second):"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(site: Site, address: Address) -> AsyncIterator[ollama.AsyncClient]:
    site.backend.script = Script(site.ids(TEXT))
    async with ollama.AsyncClient(address.url) as client:
        yield client


async def test_chats(client: ollama.AsyncClient, site: Site) -> None:
    whole = await client.chat("tiny", MESSAGES, options={"num_ctx": 256, "seed": 3})
    assert (whole.message.content, whole.done_reason) == (TEXT, "stop")
    assert whole.eval_count == len(site.ids(TEXT))
    parts = [part async for part in await client.chat("tiny:latest", MESSAGES, stream=True)]
    assert "".join(part.message.content or "" for part in parts) == TEXT
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count


async def test_completions(client: ollama.AsyncClient) -> None:
    assert (await client.generate("tiny", "hi")).response == TEXT
    parts = [part async for part in await client.generate("tiny", "hi", raw=True, stream=True)]
    assert "".join(part.response or "" for part in parts) == TEXT
    assert (await client.generate("tiny")).done_reason == "load"


async def test_the_catalogue(client: ollama.AsyncClient) -> None:
    assert [model.model for model in (await client.list()).models] == ["org/tiny", "tiny"]
    assert [model.context_length for model in (await client.ps()).models] == [256, 256]
    shown = await client.show("tiny")
    assert shown.modelinfo is not None and shown.modelinfo["llama.context_length"] == 256
    assert shown.capabilities == ["completion"]


async def test_keep_alives_do_not_confuse_it(make_site: MakeSite) -> None:
    slow = make_site(keep_alive_s=0.03)
    slow.backend.script = Script(slow.ids(TEXT), first_delay_s=0.1, delay_s=0.05)
    async with listening(slow.app) as address, ollama.AsyncClient(address.url) as patient:
        parts = [part async for part in await patient.chat("tiny", MESSAGES, stream=True)]
    assert "".join(part.message.content or "" for part in parts) == TEXT


async def test_what_may_pass_for_the_end_of_a_line_arrives(client: ollama.AsyncClient, site: Site) -> None:
    text = "a\u2028b\u2029c\x85d\r\n\x0b\x0c\x1ce"
    site.backend.script = Script(site.ids(text))
    parts = [part async for part in await client.chat("tiny", MESSAGES, stream=True)]
    assert "".join(part.message.content or "" for part in parts) == text


async def test_without_asyncio(client: ollama.AsyncClient, address: Address) -> None:
    texts: list[str] = []

    def talk() -> None:
        with ollama.Client(address.url) as blocking:
            texts.append(blocking.chat("tiny", MESSAGES).message.content or "")
            stream = blocking.generate("tiny", "hi", stream=True)
            texts.append("".join(part.response or "" for part in stream))

    thread = threading.Thread(target=talk)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert texts == [TEXT, TEXT]


async def test_errors_are_the_clients_own(client: ollama.AsyncClient, site: Site) -> None:
    with pytest.raises(ollama.ResponseError, match="not served here") as missing:
        await client.chat("other", MESSAGES)
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="managed by the operator") as forbidden:
        await client.pull("tiny")
    assert forbidden.value.status_code == 403
    with pytest.raises(ollama.ResponseError, match="512 tokens; this deployment serves 256"):
        async for _ in await client.chat("tiny", MESSAGES, stream=True, options={"num_ctx": 512}):
            pass
    site.backend.script = Script(refusal=Overloaded("full", 1))
    with pytest.raises(ollama.ResponseError, match="full") as full:
        await client.chat("tiny", MESSAGES)
    assert full.value.status_code == 429
    site.backend.script = Script(range(10, 20), death=RuntimeError("x"), death_after=2)
    with pytest.raises(ollama.ResponseError, match="failed"):
        async for _ in await client.chat("tiny", MESSAGES, stream=True):
            pass


async def test_a_stream_that_is_left_frees_the_engine(client: ollama.AsyncClient, site: Site) -> None:
    site.backend.script = Script([10] * 200, delay_s=0.01)
    stream: Any = await client.chat("tiny", MESSAGES, stream=True)
    async with aclosing(stream) as parts:
        async for _ in parts:
            break
    await site.backend.until_idle()
    assert len(site.backend.aborted) == 1
