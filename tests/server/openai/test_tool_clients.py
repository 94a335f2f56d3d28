"""Tools with the official client over real sockets, and the requests of agents."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.server.openai.client_shapes import AIDER, AIDER_FUNCTIONS, CLINE, COPILOT, ZED
from tests.server.serving import Site, events_of, listening
from tests.server.tool_calls import HERMES, WRITTEN, prompt_of
from tests.server.tool_sites import MARKERS, TOOLS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

MESSAGES: Any = [{"role": "user", "content": "What is in a.py?"}]
SDK_TOOLS: Any = TOOLS


@asynccontextmanager
async def client_of(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    async with listening(site.app) as address:
        async with openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client:
            yield client


@pytest.mark.parametrize("family", WRITTEN)
async def test_calls_with_and_without_a_stream(tmp_path: Path, family: str) -> None:
    site = make_tool_site(tmp_path, family)
    site.backend.script = Script(site.ids(WRITTEN[family]), tokens_per_event=2)
    async with client_of(site) as client:
        whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, tools=SDK_TOOLS)
        async with client.chat.completions.stream(model="tiny", messages=MESSAGES, tools=SDK_TOOLS) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_completion()
    for reply in (whole, streamed):
        choice = reply.choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
        found = [
            (call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ]
        assert found == [("read_file", {"path": "a.py"}), ("g", {})]
    assert kinds.count("tool_calls.function.arguments.done") == 2


async def test_a_talk_over_several_turns(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    answers = iter([f"<think>I must look.</think>{HERMES}", "<think>Now I know.</think>It adds."])
    site.backend.choose = lambda request: Script(site.ids(next(answers)))
    messages = [*MESSAGES]
    async with client_of(site) as client:
        asked = await client.chat.completions.create(model="tiny", messages=messages, tools=SDK_TOOLS)
        message = asked.choices[0].message
        assert message.tool_calls is not None
        assert message.to_dict()["reasoning_content"] == "I must look."
        messages.append(message)
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "def add(): ..."})
        answered = await client.chat.completions.create(model="tiny", messages=messages, tools=SDK_TOOLS)
    assert (answered.choices[0].message.content, answered.choices[0].finish_reason) == ("It adds.", "stop")
    prompt = prompt_of(site)
    assert f"<think>I must look.</think>{HERMES}<|im_end|>" in prompt
    assert f"def add(): ...<result id={message.tool_calls[0].id}>" in prompt


async def test_refusals_reach_the_client(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "unknown")
    async with client_of(site) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="tiny", messages=MESSAGES, tools=SDK_TOOLS)
        assert (refused.value.code, refused.value.param) == ("tools_unsupported", "tools")
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model="tiny", messages=MESSAGES, tool_choice="required", stream=True)
        assert (refused.value.code, refused.value.param) == ("invalid_value", "tool_choice")


@pytest.mark.parametrize("body", [COPILOT, CLINE, ZED], ids=["copilot", "cline", "zed"])
async def test_agents_get_calls(tmp_path: Path, body: Mapping[str, object]) -> None:
    site = make_tool_site(tmp_path, "hermes")
    site.backend.script = Script(site.ids(HERMES))
    events = events_of(await site.chat(**body))
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    [call] = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert (call["index"], call["function"]["name"]) == (0, "read_file")
    assert json.loads(call["function"]["arguments"]) == {"path": "a.py"}
    assert events[-1]["usage"]["completion_tokens"] == len(site.ids(HERMES))
    assert '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>' in prompt_of(site)
    assert "<result id=call_0a1b>" in prompt_of(site)


async def test_aider_talks_plainly_and_may_force_a_function(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "hermes")
    site.backend.script = Script(site.ids("a.py\n<<<<<<< SEARCH\n"))
    deltas = [event["choices"][0]["delta"] for event in events_of(await site.chat(**AIDER))]
    assert "".join(delta.get("content", "") for delta in deltas) == "a.py\n<<<<<<< SEARCH\n"
    assert (await site.chat(**AIDER_FUNCTIONS)).status_code == 200
    assert site.backend.requests[-1].constraint is not None
