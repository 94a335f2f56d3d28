"""What a request asks of an answer and its calls, before a model is asked whether it can."""

import json

import pytest

from llama4coder.server.answer_format import AnswerFormat, JsonObject, JsonSchema
from llama4coder.server.body import parse_model
from llama4coder.server.chat import ChatExtras
from llama4coder.server.responses.offers import offers_of
from llama4coder.server.responses.prompt import chat_extras
from llama4coder.server.responses.schemas import ResponseRequest
from llama4coder.server.tools import ToolChoice
from tests.server.responses.asking import TOOLS, function

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TEAM = {"type": "namespace", "name": "team", "description": "", "tools": [function("spawn")]}
CUSTOM = {"type": "custom", "name": "patch"}


def wishes(**fields: object) -> ChatExtras:
    body = parse_model(json.dumps({"model": "tiny", "input": "hi"} | fields).encode(), ResponseRequest)
    return chat_extras(body, offers_of(body))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonObject()),
        ({"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}, JsonSchema(SCHEMA)),
    ],
)
def test_formats(wanted: object, expected: AnswerFormat | None) -> None:
    assert wishes(text={"format": wanted}).answer_format == expected


@pytest.mark.parametrize(("strict", "expected"), [(True, True), (False, False), (None, False)])
def test_strictness_has_to_be_asked_for(strict: bool | None, expected: bool) -> None:
    assert [tool.strict for tool in wishes(tools=[function("f") | {"strict": strict}]).tools] == [expected]
    unsaid = {key: value for key, value in function("f").items() if key != "strict"}
    assert [tool.strict for tool in wishes(tools=[unsaid]).tools] == [False]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ToolChoice(is_required=True)),
        ({"type": "function", "name": "g"}, ToolChoice(is_required=True, name="g")),
        ({"type": "function", "name": "spawn", "namespace": "team"}, ToolChoice(is_required=True, name="team__spawn")),
        ({"type": "custom", "name": "patch"}, ToolChoice(is_required=True, name="patch")),
    ],
)
def test_choices_that_force_a_call(choice: object, expected: ToolChoice) -> None:
    wanted = wishes(tools=[*TOOLS, TEAM, CUSTOM], tool_choice=choice)
    assert wanted.tool_choice == expected
    assert [tool.name for tool in wanted.tools] == ["read_file", "g", "team__spawn", "patch"]


def test_one_of_the_allowed_may_be_forced() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    wanted = wishes(tools=TOOLS, tool_choice=allowed)
    assert wanted.tool_choice == ToolChoice(is_required=True)
    assert [tool.name for tool in wanted.tools] == ["g"]


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = wishes(tools=[{"type": "function", "name": "f", "parameters": None}]).tools
    assert tool.parameters == {"type": "object", "properties": {}}
