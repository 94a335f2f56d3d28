"""Reasoning apart from content, and the settings that switch it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.server.serving import Site, events_of
from tests.server.tool_calls import HERMES, calls_in, prompt_of
from tests.server.tool_sites import MARKERS, PLAIN_MARKERS, TOOLS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

THINKS = Vocabulary(MARKERS)


@pytest.fixture
def thinker(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "thinking", THINKS)


async def message_of(site: Site, text: str, *, stream: bool, **fields: object) -> dict[str, Any]:
    """The message that `text` becomes, whole or put together from a stream."""
    site.backend.script = Script(site.ids(text), tokens_per_event=2)
    response = await site.chat(stream=stream, **fields)
    if not stream:
        message: dict[str, Any] = response.json()["choices"][0]["message"]
        return message
    deltas = [event["choices"][0]["delta"] for event in events_of(response)]
    joined: dict[str, Any] = {"content": "".join(delta.get("content", "") for delta in deltas) or None}
    if reasoning := "".join(delta.get("reasoning_content", "") for delta in deltas):
        joined["reasoning_content"] = reasoning
    if calls := [call for delta in deltas for call in delta.get("tool_calls", ())]:
        joined["tool_calls"] = calls
    return joined


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>\nI add.\n\nSo.\n</think>\n\nIt is 3.\n", "I add.\n\nSo.", "It is 3.\n"),
        ("<think>never closed </thin", "never closed </thin", None),
        ("<think>\n\n</think>\n\nplain", None, "plain"),
        ("no thought </think> <think> at all", None, "no thought </think> <think> at all"),
        ("\n <think>a</think>b", "a", "b"),
        ("<think>a</think>b</think>", "a", "b</think>"),
        ("<think>only</think>", "only", None),
    ],
)
async def test_reasoning_stands_apart(
    thinker: Site, text: str, reasoning: str | None, content: str | None, stream: bool
) -> None:
    message = await message_of(thinker, text, stream=stream)
    assert (message.get("reasoning_content"), message["content"]) == (reasoning, content)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("declared", [False, True])
async def test_a_prompt_that_opens_the_reasoning(tmp_path: Path, declared: bool, stream: bool) -> None:
    site = make_tool_site(tmp_path, "always_thinking", Vocabulary(MARKERS, declared))
    for text in ("I add.</think>\n\n3", "<think>\nI add.</think>3"):
        message = await message_of(site, text, stream=stream)
        assert (message["reasoning_content"], message["content"]) == ("I add.", "3")
    message = await message_of(site, "I ad", stream=stream)
    assert (message["reasoning_content"], message["content"]) == ("I ad", None)


async def test_tokens_without_a_word_in_the_template_are_read_but_promise_nothing(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "hermes", THINKS)
    message = await message_of(site, "<think>a</think>b", stream=False)
    assert (message["reasoning_content"], message["content"]) == ("a", "b")
    assert (await site.chat(chat_template_kwargs={"enable_thinking": False})).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_within_the_reasoning_are_none(thinker: Site, stream: bool) -> None:
    text = f"<think>maybe {HERMES}?</think>\n{HERMES}"
    message = await message_of(thinker, text, stream=stream, tools=TOOLS)
    assert message["reasoning_content"] == f"maybe {HERMES}?"
    assert message["content"] is None
    assert calls_in(message) == [("read_file", {"path": "a.py"})]


async def test_reasoning_without_tools_leaves_calls_in_the_content(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS, declared=False))
    message = await message_of(site, f"<think>a</think>{HERMES}", stream=False)
    assert (message["reasoning_content"], message["content"]) == ("a", HERMES)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_without_think_tokens_keeps_them_in_the_content(tmp_path: Path, stream: bool) -> None:
    site = make_tool_site(tmp_path, "hermes", Vocabulary(PLAIN_MARKERS))
    message = await message_of(site, "<think>a</think>b", stream=stream, tools=TOOLS)
    assert message["content"] == "<think>a</think>b"
    assert "reasoning_content" not in message


@pytest.mark.parametrize(
    ("family", "fields", "end"),
    [
        ("thinking", {}, "assistant\n"),
        ("thinking", {"reasoning_effort": "none"}, "<think>\n\n</think>\n\n"),
        ("thinking", {"reasoning_effort": "high"}, "assistant\n"),
        ("thinking", {"chat_template_kwargs": {"enable_thinking": False}}, "<think>\n\n</think>\n\n"),
        ("thinking", {"chat_template_kwargs": {"enable_thinking": True}}, "assistant\n"),
        ("thinking", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}, "assistant\n"),
        ("effort", {"reasoning_effort": "low"}, "effort=low<|im_start|>assistant\n"),
        ("effort", {"chat_template_kwargs": {"reasoning_effort": "x<|im_end|>"}}, "x<|im_end|><|im_start|>assistant\n"),
        ("hermes", {"reasoning_effort": "none"}, "assistant\n"),
        ("hermes", {"chat_template_kwargs": {"enable_thinking": False}}, "assistant\n"),
        ("hermes", {"chat_template_kwargs": {}}, "assistant\n"),
    ],
)
async def test_settings_reach_the_template(tmp_path: Path, family: str, fields: Mapping[str, object], end: str) -> None:
    site = make_tool_site(tmp_path, family, THINKS if family == "thinking" else Vocabulary())
    response = await site.chat(**fields)
    assert response.status_code == 200, response.text
    assert prompt_of(site).endswith(end)
    assert site.backend.requests[0].prompt_token_ids.count(site.ids("<|im_end|>")[0]) == 1


@pytest.mark.parametrize(
    ("family", "fields", "param"),
    [
        ("hermes", {"reasoning_effort": "high"}, "reasoning_effort"),
        ("always_thinking", {"reasoning_effort": "none"}, "reasoning_effort"),
        ("always_thinking", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("hermes", {"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
        ("always_thinking", {"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ("thinking", {"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ("thinking", {"chat_template_kwargs": {"bos_token": "x"}}, "chat_template_kwargs"),
    ],
)
async def test_settings_that_the_template_does_not_read_are_refused(
    tmp_path: Path, family: str, fields: Mapping[str, object], param: str
) -> None:
    site = make_tool_site(tmp_path, family, Vocabulary() if family == "hermes" else THINKS)
    response = await site.chat(**fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_option", param)


@pytest.mark.parametrize(
    ("field", "value"),
    [("reasoning_effort", "huge"), ("reasoning_effort", 5), ("chat_template_kwargs", 5), ("chat_template_kwargs", [])],
)
async def test_bad_settings_are_refused(thinker: Site, field: str, value: object) -> None:
    error = (await thinker.chat(**{field: value})).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", field)


async def test_reasoning_of_earlier_turns_goes_to_the_template(thinker: Site) -> None:
    messages = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "3", "reasoning_content": "I add.<|im_end|>"},
        {"role": "assistant", "content": "<think>own</think>4"},
        {"role": "user", "content": "<think>hers</think>"},
    ]
    assert (await thinker.chat(messages=messages)).status_code == 200
    assert "3<think>I add.<|im_end|></think>" in prompt_of(thinker)
    token_ids = thinker.backend.requests[0].prompt_token_ids
    assert token_ids.count(thinker.ids("<think>")[0]) == 2  # the template's, and the assistant's own
    assert token_ids.count(thinker.ids("<|im_end|>")[0]) == 4


async def test_hiding_no_specials_changes_nothing_about_reasoning(thinker: Site) -> None:
    thinker.backend.script = Script([*thinker.ids("<think>a</think>b"), 2])
    for fields, content in (({}, "b"), ({"skip_special_tokens": False}, "b<|im_end|>")):
        reply = (await thinker.chat(**fields)).json()
        message = reply["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("a", content)
        assert json.dumps(reply["usage"]).count("completion") == 2
