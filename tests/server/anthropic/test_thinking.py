"""Thinking in messages: shown apart, signed for nobody, and switched as far as the model's template can."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.answers import Answer, answer_of, events_in
from tests.server.serving import Site
from tests.server.tool_calls import HERMES, prompt_of
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

PATH = "/v1/messages"
USER = {"role": "user", "content": "hi"}
THINKS = Vocabulary(MARKERS)
TEXT = "<think>\nI add.\n</think>\n\nIt is 3."


@pytest.fixture
def thinker(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "thinking", THINKS)


async def send(site: Site, text: str = TEXT, **fields: object) -> httpx.Response:
    site.backend.script = Script(site.ids(text), tokens_per_event=2)
    body = {"model": "tiny", "max_tokens": 500, "messages": [USER]} | fields
    return await site.client.post(PATH, json=body)


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_stands_apart(thinker: Site, stream: bool) -> None:
    answer = answer_of(PATH, await send(thinker, stream=stream), stream=stream)
    assert answer == Answer("I add.", "It is 3.", (), "end_turn")


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_then_a_call(thinker: Site, stream: bool) -> None:
    tools = [{"name": "read_file", "input_schema": {"type": "object"}}]
    response = await send(thinker, f"<think>\nI look.\n</think>\n\n{HERMES}", stream=stream, tools=tools)
    answer = answer_of(PATH, response, stream=stream)
    assert answer == Answer("I look.", "", (("read_file", '{"path": "a.py"}'),), "tool_use")


async def test_a_whole_block_has_a_signature(thinker: Site) -> None:
    first, _ = (await send(thinker)).json()["content"]
    assert first == {"type": "thinking", "thinking": "I add.", "signature": "unsigned"}


async def test_the_signature_is_a_blocks_last_delta(thinker: Site) -> None:
    events = [event for event in events_in((await send(thinker, stream=True)).text) if event.get("index") == 0]
    assert events[0]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    kinds = [event["delta"]["type"] for event in events[1:-1]]
    assert set(kinds[:-1]) == {"thinking_delta"}
    assert events[-2]["delta"] == {"type": "signature_delta", "signature": "unsigned"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", [{"type": "enabled", "budget_tokens": 2048}, {"type": "adaptive"}])
async def test_omitted_thinking_leaves_an_empty_block(thinker: Site, kind: dict[str, object], stream: bool) -> None:
    response = await send(thinker, thinking=kind | {"display": "omitted"}, stream=stream)
    assert answer_of(PATH, response, stream=stream) == Answer("", "It is 3.", (), "end_turn")
    assert '"type":"thinking"' in response.text and "unsigned" in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_cannot_but_think_does_so_unseen(tmp_path: Path, stream: bool) -> None:
    site = make_tool_site(tmp_path, "always_thinking", THINKS)
    response = await send(site, "I add.\n</think>\n\nIt is 3.", thinking={"type": "disabled"}, stream=stream)
    assert answer_of(PATH, response, stream=stream) == Answer("", "It is 3.", (), "end_turn")
    assert "thinking" not in response.text


@pytest.mark.parametrize(
    ("thinking", "ends_with"),
    [
        (None, "assistant\n"),
        ({"type": "enabled", "budget_tokens": 1024}, "assistant\n"),
        ({"type": "adaptive"}, "assistant\n"),
        ({"type": "disabled"}, "<think>\n\n</think>\n\n"),
    ],
)
async def test_templates_with_a_switch(thinker: Site, thinking: object, ends_with: str) -> None:
    await send(thinker, thinking=thinking, output_config={"effort": "high"})
    assert prompt_of(thinker).endswith(ends_with)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, ""),
        ({"thinking": {"type": "adaptive"}}, ""),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "enabled"}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
    ],
)
async def test_templates_with_efforts(tmp_path: Path, fields: dict[str, object], effort: str) -> None:
    site = make_tool_site(tmp_path, "effort")
    assert (await send(site, "x", **fields)).status_code == 200
    assert f"effort={effort}<|im_start|>" in prompt_of(site)


async def test_what_was_thought_goes_back_to_the_template(thinker: Site) -> None:
    blocks: list[Any] = [
        {"type": "thinking", "thinking": "hm", "signature": "unsigned"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "yes"},
    ]
    await send(thinker, messages=[USER, {"role": "assistant", "content": blocks}, USER])
    assert "assistant\nyes<think>hm</think><|im_end|>" in prompt_of(thinker)
    assert "secret" not in prompt_of(thinker)
