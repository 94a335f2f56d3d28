"""Tools in Ollama's chats: what templates are handed, what replies become, and what is refused."""

from pathlib import Path

import pytest

from tests.server.answers import Answer, answer_of
from tests.server.ollama.calls import USER, chat, lines
from tests.server.serving import Site
from tests.server.tool_calls import HERMES, WRITTEN, prompt_of
from tests.server.tool_sites import TOOLS, make_tool_site, tool
from tests.support.fake_backend import Script

PATH = "/api/chat"
CALLED = {"function": {"name": "read_file", "arguments": {"path": "a.py"}}}
CALLED_G = {"function": {"name": "g", "arguments": {}}}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "hermes")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("family", WRITTEN)
async def test_a_reply_with_calls(tmp_path: Path, family: str, stream: bool) -> None:
    site = make_tool_site(tmp_path, family)
    site.backend.script = Script(site.ids(WRITTEN[family]), tokens_per_event=3)
    answer = answer_of(PATH, await chat(site, tools=TOOLS, stream=stream), stream=stream)
    assert answer == Answer(content="I look.", calls=(("read_file", '{"path": "a.py"}'), ("g", "{}")), reason="stop")


async def test_a_call_is_a_line_of_its_own(site: Site) -> None:
    site.backend.script = Script(site.ids(HERMES))
    part, last = lines(await chat(site, tools=TOOLS))
    (call,) = part["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["function"] == {"index": 0, "name": "read_file", "arguments": {"path": "a.py"}}
    assert (part["message"]["content"], part["done"]) == ("", False)
    assert last["message"] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("calls", "results", "ids"),
    [
        ([CALLED, CALLED_G], [{"tool_name": "read_file"}, {"tool_name": "g"}], ["call_1", "call_2"]),
        ([CALLED, CALLED_G], [{"tool_name": "g"}, {"tool_name": "read_file"}], ["call_2", "call_1"]),
        ([CALLED, CALLED_G], [{}, {}], ["call_1", "call_2"]),
        ([CALLED, CALLED], [{"tool_name": "read_file"}, {"tool_name": "read_file"}], ["call_1", "call_2"]),
        ([CALLED | {"id": "a"}, CALLED_G | {"id": "b"}], [{"tool_call_id": "b"}, {"tool_call_id": "a"}], ["b", "a"]),
        ([CALLED | {"id": "a"}, CALLED_G | {"id": "b"}], [{"tool_call_id": "b"}, {}], ["b", "a"]),
    ],
)
async def test_results_find_their_calls(
    site: Site, calls: list[object], results: list[dict[str, object]], ids: list[str]
) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": calls}
    turns = [USER, called, *({"role": "tool", "content": "x"} | result for result in results)]
    assert (await chat(site, messages=turns, tools=TOOLS)).status_code == 200
    found = [part.split(">")[0] for part in prompt_of(site).split("<result id=")[1:]]
    assert found == ids


async def test_a_tool_loop_reaches_the_template(site: Site) -> None:
    called = {"role": "assistant", "content": "I look.", "tool_calls": [CALLED]}
    turns = [USER, called, {"role": "tool", "content": "x = 1", "tool_name": "read_file"}, USER]
    await chat(site, messages=turns, tools=TOOLS)
    assert prompt_of(site).endswith(
        'assistant\nI look.<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\nx = 1<result id=call_1><|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert '"name": "read_file"' in prompt_of(site).split("<|im_start|>")[1]


async def test_results_without_calls_and_calls_without_arguments_are_taken(site: Site) -> None:
    turns = [USER, {"role": "tool", "content": "x", "tool_name": "g"}]
    assert (await chat(site, messages=turns)).status_code == 200
    assert "<result" not in prompt_of(site)
    turns = [{"role": "assistant", "tool_calls": [{"function": {"name": "g"}}]}, {"role": "tool", "content": None}]
    assert (await chat(site, messages=turns)).status_code == 200
    assert '"arguments": {}' in prompt_of(site)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": 5}, "'tools'"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "the field 'tools[0].function' is missing"),
        ({"tools": [{"function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"tools": [tool("f"), tool("f")]}, "every tool must have a name of its own"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}, USER]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, USER]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [CALLED]}]}, "the results of its calls are missing"),
    ],
)
async def test_bad_values_are_named(site: Site, fields: dict[str, object], words: str) -> None:
    response = await chat(site, **fields)
    assert response.status_code == 400
    assert words in response.json()["error"]
    assert site.backend.requests == []


async def test_a_model_whose_calls_cannot_be_read_says_so(tmp_path: Path) -> None:
    response = await chat(make_tool_site(tmp_path, "unknown"), tools=TOOLS)
    assert response.status_code == 400
    assert "docs/tools.md" in response.json()["error"]


@pytest.mark.parametrize(("family", "has_tools"), [("hermes", True), ("mistral", True), ("unknown", False)])
async def test_capabilities_are_true(tmp_path: Path, family: str, has_tools: bool) -> None:
    site = make_tool_site(tmp_path, family)
    capabilities = ["completion", "tools"] if has_tools else ["completion"]
    shown = (await site.client.post("/api/show", json={"model": "tiny"})).json()
    assert shown["capabilities"] == capabilities
    for path in ("/api/tags", "/api/ps"):
        assert (await site.client.get(path)).json()["models"][0]["capabilities"] == capabilities


async def test_what_cannot_fit_is_refused_before_it_is_tokenised(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(site.tokenizer), "encode")
    long = "x" * 8192 * 600
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": long}}}]}
    for fields in ({"messages": [called, USER]}, {"tools": [tool("f", **{long: "string"})]}):
        assert "maximum context length" in (await chat(site, **fields)).json()["error"]
