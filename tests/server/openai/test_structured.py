"""Formats of answers and forced calls, as OpenAI's own client asks for them, over a real socket.

The backend is a fake one whose outputs are walks through the request's own grammar.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

from llama4coder.types import FinishReason, GenerateRequest
from tests.server.openai.conftest import MakeToolSite
from tests.server.serving import Site, listening
from tests.server.tool_sites import TOOLS
from tests.support.fake_backend import Script
from tests.support.grammar_walks import Walker

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["kind", "n"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "hi"}]
NAMED = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}
SQL = 'start: "select " NAME " from " NAME\nNAME: /[a-z]{1,8}/'
GBNF = 'root ::= "yes" | "no" [0-9]'


def is_schema(text: str) -> bool:
    jsonschema.validate(json.loads(text), SCHEMA)
    return True


FORMATS: dict[str, tuple[dict[str, object], Callable[[str], object]]] = {
    "json_object": ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
    "json_schema": ({"response_format": NAMED}, is_schema),
    "guided_json": ({"guided_json": SCHEMA}, is_schema),
    "guided_json_text": ({"guided_json": json.dumps(SCHEMA)}, is_schema),
    "guided_regex": ({"guided_regex": r"\d{3}-[a-f]+/x"}, re.compile(r"\d{3}-[a-f]+/x").fullmatch),
    "guided_choice": ({"guided_choice": ["yes", 'n"o', "é\n"]}, lambda text: text in ("yes", 'n"o', "é\n")),
    "guided_grammar": ({"guided_grammar": SQL}, re.compile("select [a-z]{1,8} from [a-z]{1,8}").fullmatch),
    "gbnf": ({"guided_grammar": GBNF}, re.compile("yes|no[0-9]").fullmatch),
    "structured_json": ({"structured_outputs": {"json": SCHEMA}}, is_schema),
    "structured_regex": ({"structured_outputs": {"regex": "a+b"}}, re.compile("a+b").fullmatch),
    "structured_choice": ({"structured_outputs": {"choice": ["x"]}}, lambda text: text == "x"),
    "structured_grammar": ({"structured_outputs": {"grammar": SQL}}, re.compile("select [a-z]+ from [a-z]+").fullmatch),
    "structured_object": (
        {"structured_outputs": {"json_object": True}},
        lambda text: isinstance(json.loads(text), dict),
    ),
}


def walks(site: Site, begun: str) -> Callable[[GenerateRequest], Script]:
    """What a model would write that is held to each request's grammar."""
    walker = Walker(site.tokenizer)

    def choose(request: GenerateRequest) -> Script:
        assert request.constraint is not None, "nothing holds the output"
        found = (walker.walk(request.constraint, Random(request.seed + attempt), begun) for attempt in range(50))
        text = next(text for text in found if text is not None)
        return Script([*site.ids(text), 2])

    return choose


@asynccontextmanager
async def held(site: Site, begun: str = "") -> AsyncIterator[openai.AsyncOpenAI]:
    site.backend.choose = walks(site, begun)
    async with listening(site.app) as address:
        async with openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client:
            yield client


@pytest.mark.parametrize("name", FORMATS)
async def test_every_field_holds_answers(make_site_of: MakeToolSite, name: str) -> None:
    fields, matches = FORMATS[name]
    async with held(make_site_of()) as client:
        chat = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, seed=1, temperature=0, extra_body=fields
        )
        assert chat.choices[0].finish_reason == "stop"
        assert matches(chat.choices[0].message.content)
        streamed = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, n=2, stream=True, extra_body=fields
        )
        texts = {0: "", 1: ""}
        async for chunk in streamed:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert all(map(matches, texts.values()))
        plain = await client.completions.create(model="tiny", prompt="x", seed=3, extra_body=fields)
        assert matches(plain.choices[0].text)


class Verdict(BaseModel):
    """What the SDK makes a schema of."""

    is_right: bool
    score: int = Field(ge=0, le=10)


async def test_the_sdk_parses_answers_and_calls(make_site_of: MakeToolSite) -> None:
    async with held(make_site_of()) as client:
        parsed = await client.chat.completions.parse(model="tiny", messages=MESSAGES, response_format=Verdict, seed=4)
        assert isinstance(parsed.choices[0].message.parsed, Verdict)
        tools = [openai.pydantic_function_tool(Verdict)]
        called = await client.chat.completions.parse(
            model="tiny", messages=MESSAGES, tools=tools, tool_choice="required", parallel_tool_calls=False
        )
        [call] = called.choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Verdict)
        assert called.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("family", ["hermes", "qwen_xml", "llama_json", "mistral", "pythonic", "always_thinking"])
async def test_calls_are_forced_in_every_family(make_site_of: MakeToolSite, family: str) -> None:
    site = make_site_of(family)
    f = {"type": "function", "function": {"name": "f"}}
    choices: dict[str, object] = {
        "required": "required",
        "named": f,
        "allowed": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [f]}},
    }
    async with held(site, "I must.</think>" if family == "always_thinking" else "") as client:
        for name, choice in choices.items():
            body = {"tool_choice": choice, "parallel_tool_calls": False}
            reply = await client.chat.completions.create(
                model="tiny", messages=MESSAGES, tools=TOOLS, seed=5, extra_body=body
            )
            [call] = reply.choices[0].message.tool_calls
            arguments = json.loads(call.function.arguments)
            assert reply.choices[0].message.content is None
            if name == "required":
                assert call.function.name in ("read_file", "f", "g")
            else:
                assert call.function.name == "f" and isinstance(arguments.get("a", ""), str)


async def test_a_strict_tool_holds_calls_and_leaves_text_alone(make_site_of: MakeToolSite) -> None:
    site = make_site_of()
    strict = {"type": "function", "function": {"name": "s", "strict": True, "parameters": SCHEMA}}
    async with held(site) as client:
        await client.chat.completions.create(model="tiny", messages=MESSAGES, tools=[strict], seed=1)
    [request] = site.backend.requests
    walker = Walker(site.tokenizer)
    assert request.constraint is not None
    good = '<tool_call>\n{"name": "s", "arguments": {"kind": "a", "n": 1}}\n</tool_call>'
    assert walker.accepts(request.constraint, f"Well. {good}")
    assert walker.accepts(request.constraint, "No.")
    assert not walker.accepts(request.constraint, good.replace('"n": 1', '"n": "1"'))


async def test_nothing_is_held_where_nothing_is_asked(make_site_of: MakeToolSite) -> None:
    site = make_site_of()
    for fields in (
        {},
        {"tools": TOOLS},
        {"response_format": {"type": "text"}},
        {"tools": TOOLS, "tool_choice": "auto"},
    ):
        assert (await site.chat(**fields)).status_code == 200
        assert site.backend.requests[-1].constraint is None


def deep(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"secret": schema}}
    return schema


def product(number: int) -> dict[str, object]:
    """Grows as a power of the number."""
    options = [
        [{"properties": {f"secret{i}": {"const": j}}, "required": [f"secret{i}"]} for j in range(3)]
        for i in range(number)
    ]
    return {"allOf": [{"anyOf": one} for one in options]}


def optional(number: int) -> dict[str, object]:
    return {"type": "object", "properties": {f"secret{i}": {"type": "string"} for i in range(number)}}


BOMBS: dict[str, tuple[dict[str, object], str]] = {
    "deep": ({"guided_json": deep(70)}, "nested deeper"),
    "deeper": ({"guided_json": deep(300)}, "nested deeper"),
    "long": ({"guided_json": {"enum": ["secret" * 900] * 120}}, "too large"),
    "product": ({"guided_json": product(12)}, "too large"),
    "wide": ({"guided_json": optional(4000)}, "too large"),
    "optional": ({"guided_json": optional(700)}, "complex"),
    "automaton": ({"guided_regex": "(secret)?(a?){500}a{500}"}, "complex"),
    "cycle": ({"guided_json": {"$ref": "#"}}, "nothing could ever match"),
    "never": (
        {"guided_json": {"type": "object", "properties": {"secret": False}, "required": ["secret"]}},
        "nothing could ever match",
    ),
    "remote": ({"guided_json": {"$ref": "https://secret.example/s.json"}}, "none is ever fetched"),
    "file": ({"guided_json": {"$ref": "file:///etc/secret"}}, "none is ever fetched"),
    "not": ({"guided_json": {"not": {"const": "secret"}}}, "'not'"),
    "unique": ({"guided_json": {"type": "array", "uniqueItems": True}}, "'uniqueItems'"),
    "format": ({"guided_json": {"type": "string", "format": "secret"}}, "'format'"),
    "look-around": ({"guided_json": {"type": "string", "pattern": "(?=secret)"}}, "'look-around'"),
    "regex": ({"guided_regex": "(secret"}, "'regex'"),
    "rule": ({"guided_grammar": "start: secret"}, "rule"),
    "gbnf": ({"guided_grammar": "secret ((("}, "neither Lark nor GBNF"),
    "lines": ({"guided_grammar": "\n" * 65_000}, "neither Lark nor GBNF"),
    "cut": ({"guided_grammar": "start: a\na[max_tokens=3]: /.*/"}, "max_tokens"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_what_cannot_be_compiled_is_refused_without_its_words(make_site_of: MakeToolSite, name: str) -> None:
    fields, reason = BOMBS[name]
    site = make_site_of()
    [(field, value)] = fields.items()
    for response in (await site.chat(**fields), await site.complete(**fields)):
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_option", field)
        assert reason in error["message"] and "secret" not in error["message"]
    assert site.backend.requests == []
    strict = {"type": "function", "function": {"name": "g", "strict": True, "parameters": value}}
    if isinstance(value, dict) and value.get("type", "object") == "object" and len(str(value)) < 9000:
        response = await site.chat(tools=[*TOOLS[:2], strict])
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_option", "tools")
        assert "number 3" in error["message"] and "secret" not in error["message"]


async def test_a_tool_that_is_not_strict_is_held_as_far_as_can_be(make_site_of: MakeToolSite) -> None:
    for parameters in (
        {"properties": {"a": {"not": {}}}},
        {"properties": {"a": {"$ref": "http://x"}}},
        {"type": "array"},
    ):
        tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
        async with held(make_site_of()) as client:
            reply = await client.chat.completions.create(
                model="tiny", messages=MESSAGES, tools=tools, tool_choice="required", parallel_tool_calls=False, seed=2
            )
        assert isinstance(json.loads(reply.choices[0].message.tool_calls[0].function.arguments), dict)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": NAMED, "guided_regex": "a"}, "guided_regex"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs.choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [""]}, "guided_choice[0]"),
        ({"guided_grammar": ""}, "guided_grammar"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
        ({"guided_regex": "a", "min_tokens": 3}, "min_tokens"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos"),
    ],
)
async def test_contradictions_are_refused(make_site_of: MakeToolSite, fields: dict[str, object], param: str) -> None:
    site = make_site_of()
    for response in (await site.chat(**fields), await site.complete(**fields)):
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert site.backend.requests == []


async def test_an_output_that_cannot_be_held_any_further_is_an_error(
    make_site_of: MakeToolSite, tmp_path: Path
) -> None:
    site = make_site_of()
    site.backend.script = Script([10, 11], finish_reason=FinishReason.CONSTRAINT)
    response = await site.chat(guided_regex="[a-z]+")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_option")
    streamed = await site.chat(guided_regex="[a-z]+", stream=True)
    assert "too complex" in streamed.text
