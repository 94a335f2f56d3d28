"""Whatever is wrong with tools is a 400 that says so and names the field."""

import json

import pytest

from tests.server.openai.conftest import MakeToolSite
from tests.server.serving import MakeSite, Site
from tests.server.tool_sites import TOOLS, tool

BAD_TOOLS: list[tuple[object, str]] = [
    (5, "tools"),
    ("x", "tools"),
    ([5], "tools[0]"),
    ([{}], "tools[0].type"),
    ([{"type": "function"}], "tools[0].function"),
    ([{"type": "function", "function": {}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": ""}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": "a\n"}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": "é"}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": "a" * 65}}], "tools[0].function.name"),
    ([{"type": "function", "function": {"name": "f", "description": 5}}], "tools[0].function.description"),
    ([{"type": "function", "function": {"name": "f", "parameters": []}}], "tools[0].function.parameters"),
    ([tool("f"), tool("f")], "tools"),
    ([tool(f"f{number}") for number in range(129)], "tools"),
]


@pytest.mark.parametrize(("tools", "param"), BAD_TOOLS)
async def test_bad_tools_are_refused(make_site_of: MakeToolSite, tools: object, param: str) -> None:
    site = make_site_of()
    response = await site.chat(tools=tools)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", param)
    assert site.backend.requests == []


NOWHERE = {"type": "function", "function": {"name": "nowhere"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "nowhere"}}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NOWHERE]}}},
            "tool_choice",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
    ],
)
async def test_what_cannot_be_called_is_refused(
    make_site_of: MakeToolSite, fields: dict[str, object], param: str
) -> None:
    response = await make_site_of().chat(**{"tools": TOOLS, **fields})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", param)


@pytest.mark.parametrize("choice", ["auto", "none", None])
@pytest.mark.parametrize("strict", [False, None])
async def test_free_choices_are_taken(make_site_of: MakeToolSite, choice: object, strict: object) -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": strict}}]
    assert (await make_site_of().chat(tools=tools, tool_choice=choice)).status_code == 200


@pytest.mark.parametrize("choice", ["any", 5, True, ["f"]])
async def test_bad_choices_are_refused(make_site_of: MakeToolSite, choice: object) -> None:
    error = (await make_site_of().chat(tools=TOOLS, tool_choice=choice)).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "tool_choice")


async def test_other_kinds_of_tools_are_refused(make_site_of: MakeToolSite) -> None:
    error = (await make_site_of().chat(tools=[{"type": "web_search"}])).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_option", "tools[0].type")


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"function": {"name": "f", "arguments": "{}"}}, "id"),
        ({"id": "x"}, "function"),
        ({"id": "x", "function": {"name": "f"}}, "function.arguments"),
        ({"id": "x", "function": {"name": "f", "arguments": {}}}, "function.arguments"),
        ({"id": "x", "function": {"name": "f", "arguments": "{"}}, "function.arguments"),
        ({"id": "x", "function": {"name": "f", "arguments": "[]"}}, "function.arguments"),
        ({"id": "x", "function": {"name": "f", "arguments": "[" * 100_000}}, "function.arguments"),
        ({"id": "x", "function": {"name": "", "arguments": "{}"}}, "function.name"),
    ],
)
async def test_bad_calls_of_earlier_turns_are_refused(make_site_of: MakeToolSite, call: object, param: str) -> None:
    response = await make_site_of().chat(messages=[{"role": "assistant", "content": "", "tool_calls": [call]}])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_value")
    assert error["param"] == f"messages[0].tool_calls[0].{param}"


async def test_a_model_without_tools_says_what_to_do(site: Site) -> None:
    response = await site.chat(tools=TOOLS)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "tools_unsupported", "tools")
    assert "leave them out" in error["message"]
    call = {"id": "x", "function": {"name": "f", "arguments": "{}"}}
    error = (await site.chat(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])).json()["error"]
    assert (error["code"], error["param"]) == ("tools_unsupported", "messages")
    assert (await site.chat(tools=TOOLS, tool_choice="none")).status_code == 200


async def test_a_model_whose_calls_cannot_be_read_says_so(make_site_of: MakeToolSite) -> None:
    error = (await make_site_of("unknown").chat(tools=TOOLS)).json()["error"]
    assert error["code"] == "tools_unsupported"
    assert "docs/tools.md" in error["message"]


async def test_a_model_without_a_template_has_no_tools(make_site: MakeSite) -> None:
    site = make_site(has_template=False)
    assert (await site.chat(tools=TOOLS)).json()["error"]["code"] == "unsupported_option"


async def test_completions_take_no_tools(site: Site) -> None:
    for field, value in {"tools": TOOLS, "reasoning_effort": "low", "chat_template_kwargs": {"a": 1}}.items():
        error = (await site.complete(**{field: value})).json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_option", field)
    assert (await site.complete(tools=[], tool_choice="auto")).status_code == 200


async def test_what_cannot_fit_is_refused_before_it_is_tokenised(
    make_site_of: MakeToolSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site_of()
    monkeypatch.delattr(type(site.tokenizer), "encode")
    long = "x" * 8192 * 600
    call = {"id": "x", "function": {"name": "f", "arguments": json.dumps({"a": long})}}
    for param, fields in {
        "messages": {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
        "tools": {"tools": [tool("f", **{long: "string"})]},
    }.items():
        error = (await site.chat(**fields)).json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", param)
