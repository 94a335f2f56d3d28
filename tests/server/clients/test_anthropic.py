"""Anthropic's own client against a real socket."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from llama4coder.errors import Overloaded, QueueTimeout
from tests.server.serving import Address, Site
from tests.support.fake_backend import Script

TEXT = "def add(first, second):"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
CALL: Any = {"model": "tiny", "max_tokens": 40, "messages": MESSAGES}


@pytest.fixture
async def client(site: Site, address: Address) -> AsyncIterator[anthropic.AsyncAnthropic]:
    site.backend.script = Script(site.ids(TEXT))
    async with anthropic.AsyncAnthropic(base_url=address.url, api_key="none", max_retries=0) as client:
        yield client


async def test_a_whole_message(client: anthropic.AsyncAnthropic, site: Site) -> None:
    message = await client.messages.create(**CALL, system="short", stop_sequences=["first"])
    (block,) = message.content
    assert block.type == "text" and block.text == "def add("
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "first")
    assert message.usage.output_tokens == len(site.ids("def add(first"))
    assert message._request_id


async def test_a_stream_adds_up_to_the_same_message(client: anthropic.AsyncAnthropic) -> None:
    whole = await client.messages.create(**CALL)
    async with client.messages.stream(**CALL) as stream:
        assert "".join([text async for text in stream.text_stream]) == TEXT
        streamed = await stream.get_final_message()
    ignored = {"id", "parsed_output"}
    assert streamed.content[0].type == "text" and streamed.content[0].text == TEXT
    assert streamed.model_dump(exclude=ignored | {"content"}) == whole.model_dump(exclude=ignored | {"content"})


async def test_what_may_pass_for_the_end_of_a_line_arrives(client: anthropic.AsyncAnthropic, site: Site) -> None:
    text = "a\u2028b\u2029c\x85d\r\n\x0b\x0c\x1ce"
    site.backend.script = Script(site.ids(text))
    async with client.messages.stream(**CALL) as stream:
        assert "".join([part async for part in stream.text_stream]) == text


async def test_raw_events_and_betas(client: anthropic.AsyncAnthropic) -> None:
    stream = await client.beta.messages.create(**CALL, stream=True, betas=["nobody-knows-2031-01-01"])
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


async def test_counting(client: anthropic.AsyncAnthropic, site: Site) -> None:
    counted = await client.messages.count_tokens(model="tiny", messages=MESSAGES)
    message = await client.messages.create(**CALL)
    assert counted.input_tokens == message.usage.input_tokens == len(site.backend.requests[0].prompt_token_ids)


async def test_without_asyncio(client: anthropic.AsyncAnthropic, address: Address) -> None:
    texts: list[str] = []

    def talk() -> None:
        with anthropic.Anthropic(base_url=address.url, auth_token="none") as blocking:
            with blocking.messages.stream(**CALL) as stream:
                texts.extend(stream.text_stream)

    thread = threading.Thread(target=talk)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert "".join(texts) == TEXT


async def test_errors_are_the_clients_own(client: anthropic.AsyncAnthropic, site: Site) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.create(**CALL | {"model": "other"})
    with pytest.raises(anthropic.BadRequestError, match="knows no tools"):
        await client.messages.create(**CALL, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    site.backend.script = Script(refusal=Overloaded("full", 1))
    with pytest.raises(anthropic.RateLimitError):
        await client.messages.create(**CALL)
    site.backend.script = Script(refusal=QueueTimeout("no room", 1))
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await client.messages.create(**CALL)
    assert overloaded.value.status_code == 529
    site.backend.script = Script(range(10, 20), death=RuntimeError("x"), death_after=2)
    with pytest.raises(anthropic.APIStatusError, match="failed"):
        async with client.messages.stream(**CALL) as stream:
            await stream.until_done()


async def test_it_comes_back_when_told_to(site: Site, address: Address) -> None:
    scripts = iter([Script(refusal=Overloaded("full", 1)), Script(site.ids(TEXT))])
    site.backend.choose = lambda request: next(scripts)
    async with anthropic.AsyncAnthropic(base_url=address.url, api_key="none", max_retries=1) as client:
        assert (await client.messages.create(**CALL)).stop_reason == "end_turn"


async def test_a_stream_that_is_left_frees_the_engine(client: anthropic.AsyncAnthropic, site: Site) -> None:
    site.backend.script = Script([10] * 200, delay_s=0.01)
    async with client.messages.stream(**CALL) as stream:
        async for _ in stream.text_stream:
            break
    await site.backend.until_idle()
    assert len(site.backend.aborted) == 1
