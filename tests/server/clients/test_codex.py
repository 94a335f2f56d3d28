"""Codex CLI's requests as it sent them, played over a real socket to a model that calls tools."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.responses.asking import events_of
from tests.server.serving import Address, Site, listening
from tests.server.tool_calls import prompt_of
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

RECORDING = json.loads((Path(__file__).parent / "recorded" / "agents" / "codex.json").read_text(encoding="utf-8"))
FIRST, SECOND = RECORDING["exchanges"]
CALL = '<tool_call>\n{"name": "exec_command", "arguments": {"cmd": "echo hi"}}\n</tool_call>'
SUB_AGENT = '<tool_call>\n{"name": "multi_agent_v1__close_agent", "arguments": {"target": "a"}}\n</tool_call>'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))


@pytest.fixture
async def address(site: Site) -> AsyncIterator[Address]:
    async with listening(site.app) as address:
        yield address


async def play(address: Address, exchange: dict[str, Any]) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=address.url) as client:
        headers, body = exchange["headers"], exchange["body"]
        return events_of(await client.request(exchange["method"], exchange["path"], headers=headers, json=body))


async def test_it_gets_calls_as_it_offers_them(site: Site, address: Address) -> None:
    site.backend.script = Script(site.ids(f"<think>I must.</think>I look.{CALL}{SUB_AGENT}"), tokens_per_event=3)
    events = await play(address, FIRST)
    # These are all that it reads.
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call", "function_call"]
    assert items[0]["summary"] == [{"type": "summary_text", "text": "I must."}]
    assert (items[2]["name"], json.loads(items[2]["arguments"])) == ("exec_command", {"cmd": "echo hi"})
    assert (items[3]["name"], items[3]["namespace"]) == ("close_agent", "multi_agent_v1")
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    usage = events[-1]["response"]["usage"]
    assert set(usage) >= {"input_tokens", "output_tokens", "total_tokens"}
    assert not events[-1]["response"]["id"].startswith("resp_")
    assert [tool["type"] for tool in events[-1]["response"]["tools"]].count("web_search") == 0


async def test_what_it_sends_back_continues_the_turn(site: Site, address: Address) -> None:
    site.backend.script = Script(site.ids("<think>Done.</think>It says hi."))
    events = await play(address, SECOND)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "It says hi."
    prompt = prompt_of(site)
    assert prompt.index("You are an agent.\n\nSkills: none.<|im_end|>") < prompt.index("<|im_start|>user\n")
    assert "</environment_context>\n\nSay hi<|im_end|>\n<|im_start|>assistant\n<think>I think</think>" in prompt
    assert "Output:\nhi\n<result id=call_1><|im_end|>\n<|im_start|>tool\nno such tool<result id=call_2>" in prompt


async def test_it_leaves_and_frees_the_engine(site: Site, address: Address) -> None:
    site.backend.script = Script([10] * 500, delay_s=0.01)
    async with httpx.AsyncClient(base_url=address.url) as client:
        async with client.stream("POST", FIRST["path"], headers=FIRST["headers"], json=FIRST["body"]) as response:
            async for _ in response.aiter_bytes():
                break
    await site.backend.until_idle()
    assert len(site.backend.aborted) == 1
