"""The events of a stream, one by one."""

from pathlib import Path
from typing import Any

import pytest

from llama4coder.errors import EngineDead, Overloaded
from tests.server.responses.asking import TOOLS, events_of, function, kinds_of, respond
from tests.server.serving import Site
from tests.server.tool_calls import HERMES
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

TEXT_KINDS = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done"]
TEXT_KINDS += ["content_part.done", "output_item.done"]
CALL_KINDS = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


def call_of(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.fixture
def agent(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))


async def stream(site: Site, text: str, **fields: object) -> list[dict[str, Any]]:
    site.backend.script = Script(site.ids(text))
    return events_of(await respond(site, stream=True, **fields))


async def test_the_whole_sequence(agent: Site) -> None:
    events = await stream(agent, f"<think>I must.</think>I look.{HERMES}", tools=TOOLS)
    reasoning = ["output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done"]
    reasoning += ["content_part.done", "output_item.done"]
    assert kinds_of(events) == ["created", "in_progress", *reasoning, *TEXT_KINDS, *CALL_KINDS, "completed"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == done
    assert events[0]["response"]["output"] == []
    assert (events[0]["response"]["status"], events[-1]["response"]["status"]) == ("in_progress", "completed")
    assert events[0]["response"]["id"] == events[-1]["response"]["id"]
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == done[event["output_index"]]["id"]
    added = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert [item.get("arguments", item.get("content", [])) for item in added] == [[], [], ""]


async def test_a_summary_has_events_of_its_own(agent: Site) -> None:
    events = await stream(agent, "<think>I must.</think>Yes.", reasoning={"generate_summary": "detailed"})
    summary = ["output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"]
    summary += ["reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"]
    assert kinds_of(events) == ["created", "in_progress", *summary, *TEXT_KINDS, "completed"]
    deltas = [event["delta"] for event in events if event["type"] == "response.reasoning_summary_text.delta"]
    assert "".join(deltas) == "I must."


@pytest.mark.parametrize("streams", [False, True])
async def test_custom_tools_and_namespaces_come_back_as_they_were_given(agent: Site, streams: bool) -> None:
    tools = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "team", "description": "", "tools": [function("spawn", n="integer")]},
    ]
    calls = [call_of("patch", '{"input": "+hello\\n"}'), call_of("patch", '{"text": 1}')]
    calls += [call_of("team__spawn", '{"n": 1}'), call_of("other", "{}")]
    agent.backend.script = Script(agent.ids("".join(calls)))
    response = await respond(agent, tools=tools, stream=streams)
    output = events_of(response)[-1]["response"]["output"] if streams else response.json()["output"]
    first, second, third, fourth = output
    assert (first["type"], first["name"], first["input"]) == ("custom_tool_call", "patch", "+hello\n")
    assert second["input"] == '{"text": 1}'
    assert (third["type"], third["name"], third["namespace"]) == ("function_call", "spawn", "team")
    assert third["arguments"] == '{"n": 1}'
    assert (fourth["name"], "namespace" in fourth) == ("other", False)
    if streams:
        deltas = [event for event in events_of(response) if event["type"] == "response.custom_tool_call_input.delta"]
        assert [event["delta"] for event in deltas] == ["+hello\n", '{"text": 1}']


async def test_calls_in_parallel_are_cut_where_they_are_not_wanted(agent: Site) -> None:
    agent.backend.script = Script(agent.ids(HERMES + call_of("g", "{}")))
    reply = (await respond(agent, tools=TOOLS, parallel_tool_calls=False)).json()
    assert [item["name"] for item in reply["output"]] == ["read_file"]
    assert reply["parallel_tool_calls"] is False


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_that_is_cut_off_says_so(site: Site, streams: bool) -> None:
    site.backend.script = Script(site.ids("def add(first, second):"))
    response = await respond(site, max_output_tokens=3, stream=streams)
    if streams:
        events = events_of(response)
        assert events[-1]["type"] == "response.incomplete"
    reply = events[-1]["response"] if streams else response.json()
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert reply["output"][0]["status"] == "incomplete"
    assert (reply["usage"]["output_tokens"], reply["completed_at"]) == (3, None)


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_of_nothing_is_an_empty_message(site: Site, streams: bool) -> None:
    site.backend.script = Script([])
    response = await respond(site, stream=streams)
    reply = events_of(response)[-1]["response"] if streams else response.json()
    assert [(item["type"], item["content"][0]["text"]) for item in reply["output"]] == [("message", "")]
    assert reply["status"] == "completed"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("tokens_per_event", [1, 20])
async def test_log_probabilities(site: Site, tokens_per_event: int, streams: bool) -> None:
    # A character that never comes whole, and white space at the end, which waits for what follows.
    ids = [site.ids("é")[0], *site.ids("def add(): ")]
    site.backend.script = Script(ids, tokens_per_event=tokens_per_event)
    response = await respond(site, top_logprobs=2, stream=streams)
    reply = events_of(response)[-1]["response"] if streams else response.json()
    logprobs = reply["output"][0]["content"][0]["logprobs"]
    assert [entry["token"] for entry in logprobs] == [site.tokenizer.token_text(token_id) for token_id in ids]
    assert all(len(entry["top_logprobs"]) == 2 for entry in logprobs)
    if streams:
        deltas = [event for event in events_of(response) if event["type"] == "response.output_text.delta"]
        assert [entry for event in deltas for entry in event["logprobs"]] == logprobs


async def test_log_probabilities_without_candidates(site: Site) -> None:
    reply = (await respond(site, include=["message.output_text.logprobs"])).json()
    assert [entry["top_logprobs"] for entry in reply["output"][0]["content"][0]["logprobs"]] == [[], [], []]


async def test_a_failure_midway_ends_the_stream(site: Site) -> None:
    site.backend.script = Script(site.ids("def add"), death=EngineDead("the engine has failed"), death_after=1)
    events = events_of(await respond(site, stream=True))
    error, failed = events[-2:]
    assert (error["type"], error["code"], error["message"]) == ("error", "unavailable", "the engine has failed")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "the engine has failed"}


async def test_a_failure_before_anything_else_is_a_whole_stream(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "hermes", keep_alive_s=0.05)
    late = Overloaded("the queue is full", 3.0)
    site.backend.script = Script(death=late, first_delay_s=0.2)
    response = await respond(site, stream=True)
    assert response.text.startswith(": keep-alive\n\n")
    events = events_of(response)
    assert kinds_of(events) == ["created", "in_progress", "error", "failed"]
    assert events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"


async def test_a_refusal_before_the_stream_is_an_http_error(site: Site) -> None:
    site.backend.script = Script(refusal=Overloaded("the queue is full", 3.0))
    response = await respond(site, stream=True)
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json()["error"]["code"] == "overloaded"
