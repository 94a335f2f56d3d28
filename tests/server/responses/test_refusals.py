"""Whatever is wrong with a body, or cannot be had here, is a 400 that names it."""

from pathlib import Path

import pytest

from tests.server.responses.asking import TOOLS, function, respond
from tests.server.serving import Site
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site

IMAGE = {"type": "input_image", "image_url": "http://example.invalid/a.png"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
NAMED = {"type": "function", "name": "other"}


def said(content: object, role: str = "user") -> dict[str, object]:
    return {"input": [{"role": role, "content": content}]}


BAD = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    (said(5), "input[0].content"),
    (said([5]), "input[0].content"),
    (said([{"text": "x"}]), "input[0].content"),
    (said([{"type": "input_text"}]), "input[0].content"),
    (said("x", "tool"), "input[0].role"),
    ({"input": [CALL | {"arguments": "["}]}, "input[0].arguments"),
    ({"input": [CALL | {"arguments": {}}]}, "input[0].arguments"),
    ({"input": [CALL | {"call_id": ""}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "input[0].summary"),
    ({"model": 5}, "model"),
    ({"instructions": 5}, "instructions"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 2}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"top_logprobs": -1}, "top_logprobs"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"include": "x"}, "include"),
    ({"metadata": {"a": 5}}, "metadata"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: "x"}}, "metadata"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ({"text": 5}, "text"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"tools": 5}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [function("a b")]}, "tools[0].name"),
    ({"tools": [function("f"), function("f")]}, "tools"),
    ({"tools": [function("f")] * 129}, "tools"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
    ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": NAMED}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "custom", "name": "g"}}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"max_output_tokens": 8200}, "input"),
    ({"input": "x" * (8193 * 512)}, "input"),
]
UNSUPPORTED = [
    ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation in 'input'"),
    ({"conversation": "conv_1"}, "conversation", "send the whole conversation in 'input'"),
    ({"conversation": {"id": "conv_1"}}, "conversation", "send the whole conversation in 'input'"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "send the whole conversation in 'input'"),
    ({"background": True}, "background", "nothing is kept here"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]", "send the whole conversation"),
    ({"input": [{"id": "msg_1"}]}, "input[0]", "send the whole conversation"),
    ({"input": [{"type": "computer_call_output"}]}, "input[0]", "messages, reasoning, calls"),
    (said([IMAGE]), "input[0].content", "cannot see images"),
    (said([{"type": "input_file", "file_id": "f"}]), "input[0].content", "reads no documents"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0]", "do not exist here"),
    ({"tools": [{"type": "file_search"}]}, "tools[0]", "do not exist here"),
    ({"tools": [{"type": "local_shell"}]}, "tools[0]", "do not exist here"),
    ({"tools": TOOLS, "tool_choice": {"type": "web_search_preview"}}, "tool_choice", "name a function"),
    ({"tools": [{"type": "custom", "name": "c", "format": {"type": "x"}}]}, "tools[0].format", "'grammar'"),
    ({"text": {"format": {"type": "x"}}}, "text.format", "'json_schema'"),
    ({"text": {"verbosity": "low"}}, "text.verbosity", "verbosity"),
    ({"truncation": "auto"}, "truncation", "truncation"),
    ({"context_management": [{"type": "compaction"}]}, "context_management", "context_management"),
    ({"messages": [{"role": "user", "content": "x"}]}, "messages", "messages"),
    ({"max_tokens": 5}, "max_tokens", "max_tokens"),
    ({"response_format": {"type": "json_object"}}, "response_format", "response_format"),
    ({"stop": ["x"]}, "stop", "stop"),
    ({"top_logprobs": 1, "tools": TOOLS}, "top_logprobs", "not with tools"),
]


@pytest.fixture
def agent(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "hermes")


@pytest.mark.parametrize(("fields", "param"), BAD)
async def test_bad_values(agent: Site, fields: dict[str, object], param: str) -> None:
    response = await respond(agent, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert agent.backend.requests == []


@pytest.mark.parametrize(("fields", "param", "words"), UNSUPPORTED)
async def test_what_is_not_supported(agent: Site, fields: dict[str, object], param: str, words: str) -> None:
    response = await respond(agent, **fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_option", param)
    assert words in error["message"]
    assert agent.backend.requests == []


async def test_refusals_of_the_model_name_fields_of_this_dialect(agent: Site, site: Site) -> None:
    error = (await respond(agent, reasoning={"effort": "high"})).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_option", "reasoning.effort")
    error = (await respond(site, tools=TOOLS)).json()["error"]
    assert (error["code"], error["param"]) == ("tools_unsupported", "tools")
    error = (await respond(site, input=[CALL])).json()["error"]
    assert (error["code"], error["param"]) == ("tools_unsupported", "input")
    error = (await respond(agent, input="word " * 9000)).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert "8192 tokens" in error["message"]


async def test_no_log_probabilities_of_reasoning(tmp_path: Path) -> None:
    thinker = make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))
    error = (await respond(thinker, include=["message.output_text.logprobs"])).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_option", "top_logprobs")


async def test_nothing_that_a_client_sent_is_repeated_by_errors_or_warnings(
    agent: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "s3cr3t"
    bodies: list[dict[str, object]] = [
        {"input": [{"type": secret}]},
        {"input": [{"role": secret, "content": "x"}]},
        said([{"type": secret}]),
        said([{"type": "input_text", "text": [secret]}]),
        {"input": [CALL | {"arguments": secret}]},
        {"metadata": {secret: 5}},
        {"tools": [{"type": secret}]},
        {"tools": [function("f") | {"name": f"{secret} x"}]},
        {"tools": [{"type": "custom", "name": "c", "format": {"type": secret}}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": secret}]}]},
        {"tools": TOOLS, "tool_choice": secret},
        {"tools": TOOLS, "tool_choice": {"type": "function", "name": secret}},
        {"text": {"format": {"type": secret}}},
        {"reasoning": {"effort": secret}},
        {"previous_response_id": secret},
    ]
    for body in bodies:
        response = await respond(agent, **body)
        assert response.status_code == 400
        assert secret not in response.text
    kept = {"tools": [function(secret), {"type": "custom", "name": "c", "description": secret}], "input": secret}
    assert (await respond(agent, **kept)).status_code == 200
    assert secret not in "".join(capfd.readouterr())
