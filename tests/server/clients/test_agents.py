"""The SDKs' own tool loops against a real socket, and agents' requests as they send them."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import httpx
import ollama
import pytest

from llama4coder.types import GenerateRequest
from tests.server.answers import answer_of
from tests.server.serving import Address, Site, listening
from tests.server.tool_calls import HERMES, prompt_of
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

FOLDER = Path(__file__).parent / "recorded" / "agents"
RECORDINGS = [
    pytest.param(exchange, id=f"{path.stem}-{number}")
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem != "codex"  # whose own tests speak Responses
    for number, exchange in enumerate(json.loads(path.read_text(encoding="utf-8"))["exchanges"])
]
CALLS = f"<think>\nI look.\n</think>\n\nFirst.\n{HERMES}"
LAST = "It says x = 1."
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A model that reads a file first, and then answers."""
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))

    def choose(request: GenerateRequest) -> Script:
        prompt = site.tokenizer.decode(request.prompt_token_ids, skip_special=False)
        return Script(site.ids(LAST if "<|im_start|>tool" in prompt else CALLS), tokens_per_event=2)

    site.backend.choose = choose
    yield site
    await site.backend.until_idle()


@pytest.fixture
async def address(site: Site) -> AsyncIterator[Address]:
    async with listening(site.app) as address:
        yield address


def read_file(path: str) -> str:
    """Read a file.

    Args:
        path: where it is
    """
    return f"x = 1  # in {path}"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_client_goes_through_a_loop(site: Site, address: Address, stream: bool) -> None:
    tools: Any = [{"name": "read_file", "description": "Read a file.", "input_schema": SCHEMA}]
    messages: list[Any] = [{"role": "user", "content": "What does it say?"}]
    async with anthropic.AsyncAnthropic(base_url=address.url, api_key="none", max_retries=0) as client:

        async def ask() -> anthropic.types.Message:
            call: Any = {"model": "tiny", "max_tokens": 100, "messages": messages, "tools": tools}
            if not stream:
                return await client.messages.create(**call)
            async with client.messages.stream(**call) as events:
                return await events.get_final_message()

        first = await ask()
        thought, said, call = first.content
        assert thought.type == "thinking" and (thought.thinking, thought.signature) == ("I look.", "unsigned")
        assert said.type == "text" and said.text == "First."
        assert call.type == "tool_use" and (call.name, call.input) == ("read_file", {"path": "a.py"})
        assert first.stop_reason == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": read_file(**call.input)}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        last = await ask()
        counted = await client.messages.count_tokens(model="tiny", messages=messages, tools=tools)
    assert (last.content[0].type, last.stop_reason) == ("text", "end_turn")
    assert counted.input_tokens == last.usage.input_tokens
    assert f"<|im_start|>tool\nx = 1  # in a.py<result id={call.id}>" in prompt_of(site)
    assert "First.<think>I look.</think><tool_call>" in prompt_of(site)


async def test_anthropics_tool_runner_finds_its_way(address: Address) -> None:
    @anthropic.beta_async_tool
    async def read(path: str) -> str:
        """Read a file."""
        return read_file(path)

    read.name = "read_file"
    async with anthropic.AsyncAnthropic(base_url=address.url, api_key="none", max_retries=0) as client:
        runner = client.beta.messages.tool_runner(
            model="tiny", max_tokens=100, tools=[read], messages=[{"role": "user", "content": "What does it say?"}]
        )
        kinds = [[block.type for block in message.content] async for message in runner]
    assert kinds == [["thinking", "text", "tool_use"], ["text"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_ollamas_client_goes_through_a_loop(site: Site, address: Address, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "What does it say?"}]
    async with ollama.AsyncClient(address.url) as client:

        async def ask() -> list[ollama.Message]:
            if not stream:
                return [(await client.chat("tiny", messages, tools=[read_file], think=True)).message]
            parts = await client.chat("tiny", messages, tools=[read_file], think=True, stream=True)
            return [part.message async for part in parts]

        first = await ask()
        assert "".join(message.thinking or "" for message in first) == "I look."
        assert "".join(message.content or "" for message in first) == "First."
        (call,) = [call for message in first for call in message.tool_calls or ()]
        assert (call.function.name, call.function.arguments) == ("read_file", {"path": "a.py"})
        result = read_file(**call.function.arguments)
        called = ollama.Message(role="assistant", content="First.", thinking="I look.", tool_calls=[call])
        messages += [called, {"role": "tool", "tool_name": "read_file", "content": result}]
        assert "".join(message.content or "" for message in await ask()) == LAST
        shown = await client.show("tiny")
    assert "<|im_start|>tool\nx = 1  # in a.py<result id=call_1>" in prompt_of(site)
    assert '"description": "Read a file."' in prompt_of(site)
    assert shown.capabilities == ["completion", "tools", "thinking"]


@pytest.mark.parametrize("exchange", RECORDINGS)
async def test_agents_are_answered(site: Site, address: Address, exchange: Mapping[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=address.url) as client:
        headers, body = exchange.get("headers"), exchange.get("body")
        response = await client.request(exchange["method"], exchange["path"], headers=headers, json=body)
    assert response.status_code == 200, response.text
    if body is None or not body.get("stream"):
        return
    answer = answer_of(exchange["path"], response, stream=True)
    has_results = "<|im_start|>tool" in prompt_of(site)
    assert answer.content == (LAST if has_results else "First.")
    assert answer.calls == (() if has_results else (("read_file", '{"path": "a.py"}'),))
