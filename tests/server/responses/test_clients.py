"""OpenAI's own client over real sockets."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from llama4coder.server.chat import Chats
from tests.server.responses.asking import TOOLS, client_of
from tests.server.serving import Site
from tests.server.tool_calls import HERMES, WRITTEN, prompt_of
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

NAMES_OF_ITEMS = {"id", "call_id", "parsed_arguments"}


def without_names(response: Response) -> dict[str, Any]:
    """What two answers to one request have in common."""
    content = response.to_dict(mode="json")
    for item in content["output"]:  # type: ignore[attr-defined]
        for name in NAMES_OF_ITEMS:
            item.pop(name, None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return {name: value for name, value in content.items() if name not in ("id", "created_at", "completed_at")}


async def test_text(site: Site) -> None:
    site.backend.script = Script(site.ids("def add(first, second):"), tokens_per_event=2)
    async with client_of(site) as client:
        whole = await client.responses.create(model="tiny", input="hi", instructions="short", metadata={"a": "b"})
        async with client.responses.stream(
            model="tiny", input="hi", instructions="short", metadata={"a": "b"}
        ) as stream:
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            streamed = await stream.get_final_response()
    assert whole.output_text == streamed.output_text == "".join(deltas) == "def add(first, second):"
    assert without_names(whole) == without_names(streamed)
    assert (whole.status, whole.model, whole.metadata, whole.instructions) == (
        "completed",
        "org/tiny",
        {"a": "b"},
        "short",
    )
    assert whole.usage is not None
    assert whole.usage.output_tokens == len(site.ids("def add(first, second):"))
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    assert whole.to_dict()["store"] is False


@pytest.mark.parametrize("family", WRITTEN)
async def test_calls_with_and_without_a_stream(tmp_path: Path, family: str) -> None:
    site = make_tool_site(tmp_path, family)
    site.backend.script = Script(site.ids(WRITTEN[family]), tokens_per_event=2)
    async with client_of(site) as client:
        whole = await client.responses.parse(model="tiny", input="What is in a.py?", tools=TOOLS)
        async with client.responses.stream(model="tiny", input="What is in a.py?", tools=TOOLS) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_response()
    assert without_names(whole) == without_names(streamed)
    found = [(item.name, json.loads(item.arguments)) for item in whole.output if item.type == "function_call"]
    assert (whole.output_text, found) == ("I look.", [("read_file", {"path": "a.py"}), ("g", {})])
    assert kinds.count("response.function_call_arguments.done") == 2


async def test_an_agent_over_several_turns(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    answers = iter([f"<think>I must look.</think>I look.{HERMES}", "<think>Now I know.</think>It adds."])
    site.backend.choose = lambda request: Script(site.ids(next(answers)))
    history: list[Any] = [{"role": "user", "content": "What is in a.py?"}]
    async with client_of(site) as client:
        asked = await client.responses.create(model="tiny", input=history, tools=TOOLS)
        assert [item.type for item in asked.output] == ["reasoning", "message", "function_call"]
        call = asked.output[-1]
        assert call.type == "function_call"
        history += asked.output
        history.append({"type": "function_call_output", "call_id": call.call_id, "output": "def add(): ..."})
        answered = await client.responses.create(model="tiny", input=history, tools=TOOLS)
    assert answered.output_text == "It adds."
    prompt = prompt_of(site)
    assert f"<|im_start|>assistant\nI look.<think>I must look.</think>{HERMES}<|im_end|>" in prompt
    assert f"<|im_start|>tool\ndef add(): ...<result id={call.call_id}><|im_end|>" in prompt


async def test_reasoning_stands_where_the_client_looks_for_it(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    site.backend.script = Script(site.ids("<think>I add.</think>\n\nIt is 3."))
    async with client_of(site) as client:
        raw = await client.responses.create(model="tiny", input="1 + 2?")
        async with client.responses.stream(model="tiny", input="1 + 2?", reasoning={"summary": "auto"}) as stream:
            kinds = [event.type async for event in stream]
            shown = await stream.get_final_response()
    for response in (raw, shown):
        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert response.output_text == "It is 3."
        assert response.usage is not None
        # The marks count as well, and so does white space behind them.
        details = response.usage.output_tokens_details
        assert len(site.ids("I add.")) <= details.reasoning_tokens <= len(site.ids("<think>I add.</think>\n\n"))
    first, second = raw.output[0], shown.output[0]
    assert first.type == second.type == "reasoning"
    assert first.content is not None and first.content[0].text == "I add." and first.summary == []
    assert second.content is None and second.summary[0].text == "I add."
    assert "response.reasoning_summary_text.delta" in kinds and "response.reasoning_text.delta" not in kinds


class Sum(BaseModel):
    """What an answer is parsed as."""

    total: int


async def test_answers_and_arguments_are_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chats, "constraint", lambda *_: None)  # whatever holds a model to schemas
    site = make_tool_site(tmp_path, "hermes")
    answers = iter(['{"total": 3}', '<tool_call>\n{"name": "Sum", "arguments": {"total": 3}}\n</tool_call>'])
    site.backend.choose = lambda request: Script(site.ids(next(answers)))
    async with client_of(site) as client:
        answer = await client.responses.parse(model="tiny", input="1 + 2?", text_format=Sum)
        tools = [openai.pydantic_function_tool(Sum)]
        called = await client.responses.parse(model="tiny", input="1 + 2?", tools=tools)
    assert answer.output_parsed == Sum(total=3)
    (call,) = called.output
    assert call.type == "function_call" and call.parsed_arguments == Sum(total=3)


async def test_tokens_are_counted_without_an_answer(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "hermes")
    async with client_of(site) as client:
        counted = await client.responses.input_tokens.count(model="tiny", input="hi", tools=TOOLS)
        response = await client.responses.create(model="tiny", input="hi", tools=TOOLS)
    assert response.usage is not None
    assert (counted.input_tokens, counted.object) == (response.usage.input_tokens, "response.input_tokens")
    assert len(site.backend.requests) == 1


async def test_refusals_reach_the_client(site: Site) -> None:
    async with client_of(site) as client:
        with pytest.raises(openai.BadRequestError, match="send the whole conversation in 'input'") as refused:
            await client.responses.create(model="tiny", input="hi", previous_response_id="resp_1", stream=True)
        assert (refused.value.code, refused.value.param) == ("unsupported_option", "previous_response_id")
        with pytest.raises(openai.NotFoundError) as missing:
            await client.responses.create(model="gpt-5", input="hi")
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        for look_up in (
            client.responses.retrieve("r_1"),
            client.responses.delete("r_1"),
            client.responses.cancel("r_1"),
            client.responses.input_items.list("r_1"),
        ):
            with pytest.raises(openai.NotFoundError, match="none is kept here") as missing:
                await look_up
            assert missing.value.code == "not_kept"
    assert site.backend.requests == []
