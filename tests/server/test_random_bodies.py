"""Whatever JSON comes in, the answer is the client's fault or no fault, in every dialect."""

import asyncio
import json
from collections.abc import Mapping

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama4coder.server.anthropic.blocks import DocumentBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock
from llama4coder.server.anthropic.schemas import InputMessage, MessageRequest, OutputConfig, Thinking
from llama4coder.server.anthropic.tool_fields import ToolChoiceField, ToolField
from llama4coder.server.body import RequestModel
from llama4coder.server.fim_fields import ExtraFile
from llama4coder.server.llama_cpp.schemas import InfillRequest
from llama4coder.server.mistral.schemas import FimRequest
from llama4coder.server.ollama.schemas import ChatMessage, ChatRequest, GenerateRequest, ModelOptions, ShowRequest
from llama4coder.server.openai import schemas as openai
from llama4coder.server.responses.items import CallOutputItem, FunctionCallItem
from llama4coder.server.responses.schemas import InputRequest, ResponseRequest
from tests.server.serving import MakeSite, Site
from tests.server.tool_calls import HERMES
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

TURNS = [{"role": "user", "content": "hi"}]
MODELS: Mapping[str, tuple[type[RequestModel], dict[str, object]]] = {  # by path, with a body that is right
    "/v1/messages": (MessageRequest, {"model": "tiny", "max_tokens": 5, "messages": TURNS}),
    "/v1/messages/count_tokens": (MessageRequest, {"model": "tiny", "messages": TURNS}),
    "/api/chat": (ChatRequest, {"model": "tiny", "messages": TURNS}),
    "/api/generate": (GenerateRequest, {"model": "tiny", "prompt": "hi"}),
    "/api/show": (ShowRequest, {"model": "tiny"}),
    "/v1/chat/completions": (openai.ChatRequest, {"model": "tiny", "messages": TURNS}),
    "/v1/responses": (ResponseRequest, {"model": "tiny", "input": TURNS}),
    "/v1/responses/input_tokens": (InputRequest, {"model": "tiny", "input": TURNS}),
    "/v1/completions": (openai.CompletionRequest, {"model": "tiny", "prompt": "hi"}),
    "/v1/fim/completions": (FimRequest, {"model": "tiny", "prompt": "hi"}),
    "/infill": (InfillRequest, {"input_prefix": "a", "input_suffix": "b"}),
    "/tokenize": (openai.TokenizeRequest, {"prompt": "hi"}),
    "/detokenize": (openai.DetokenizeRequest, {"tokens": [5]}),
}
NESTED = (InputMessage, ChatMessage, ModelOptions, ExtraFile, FunctionCallItem, CallOutputItem)
NESTED = (
    *(InputMessage, DocumentBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, ToolField, ToolChoiceField),
    *(OutputConfig, Thinking, ChatMessage, ModelOptions, ExtraFile),
)
NAMES = sorted({name for kind in NESTED for name in kind.model_fields} | {"type", "text", "source", "input"})
WORDS = (
    "tiny",
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "thinking",
    "tool_use",
    "tool_result",
    "document",
    "image",
    "message",
    "input_text",
    "function_call",
    "function_call_output",
    "reasoning",
    "function",
    "custom",
    "namespace",
    "enabled",
    "disabled",
    "adaptive",
    "any",
    "json_schema",
    "json",
    "syntax",
    "\n",
    "\0",
    "é€",
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=12),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner),
    max_leaves=12,
)

KINDS = ("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "document")
blocks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS), "text": st.just("hi"), "thinking": st.just("hm")},
        optional={
            "id": st.just("a"),
            "name": st.just("f"),
            "input": st.dictionaries(st.text(max_size=4), scalars, max_size=2),
            "tool_use_id": st.just("a"),
            "content": st.sampled_from(("", "hi")),
            "source": st.just({"type": "text", "data": "hi"}),
        },
    ),
    max_size=2,
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(("a", "b")),
            "function": st.fixed_dictionaries(
                {"name": st.just("f"), "arguments": st.dictionaries(st.text(max_size=4), scalars) | st.just("{}")}
            ),
        }
    ),
    max_size=2,
)
turns = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(("user", "assistant", "system", "tool")),
            "content": st.sampled_from(("", "hi")) | blocks,
        },
        optional={"tool_calls": calls, "tool_name": st.just("f"), "tool_call_id": st.just("a")},
    ),
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn, path: str) -> object:
    """A right body with some fields replaced; now and then something else altogether."""
    kind, right = MODELS[path]
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    names = sorted({*kind.model_fields, *kind.unsupported})
    for name in {"messages", "input"} & right.keys():
        right = right | {name: draw(turns)}
    return right | draw(st.dictionaries(st.sampled_from(names), values, max_size=3))


TOOLS = [{"type": "function", "function": {"name": "f"}}]
OFFERED: Mapping[str, object] = {  # tools that are right, by the beginning of the path
    "/v1/messages": [{"name": "f", "input_schema": {"type": "object"}}],
    "/api/chat": TOOLS,
    "/v1/chat/completions": TOOLS,
}


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An endpoint whose model knows tools, thinks, and calls one."""
    site = make_tool_site(tmp_path_factory.mktemp("agent"), "thinking", Vocabulary(MARKERS))
    site.backend.script = Script(site.ids(f"<think>hm</think>Look. {HERMES}"))
    return site


async def _post(site: Site, path: str, body: object) -> httpx.Response:
    transport = httpx.ASGITransport(site.app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(path, content=json.dumps(body))
    await site.backend.until_idle()
    return response


def _message_of(path: str, answer: dict[str, object]) -> object:
    error = answer["error"]
    if path.startswith("/api/"):
        return error
    assert isinstance(error, dict)
    return error["message"]


@pytest.mark.parametrize("path", MODELS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_bodies_are_never_the_servers_fault(site: Site, path: str, data: st.DataObject) -> None:
    response = asyncio.run(_post(site, path, data.draw(bodies(path))))
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert _message_of(path, response.json())


@pytest.mark.parametrize("path", OFFERED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nor_are_they_where_tools_are_offered(agent: Site, path: str, data: st.DataObject) -> None:
    body = data.draw(bodies(path))
    if isinstance(body, dict):
        body = {"tools": OFFERED[path]} | body
    response = asyncio.run(_post(agent, path, body))
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert _message_of(path, response.json())


@pytest.mark.parametrize("path", MODELS)
def test_the_bodies_that_they_begin_with_are_right(site: Site, path: str) -> None:
    expected = 400 if path == "/infill" else 200  # the tiny model has no tokens for a hole
    assert asyncio.run(_post(site, path, MODELS[path][1])).status_code == expected
