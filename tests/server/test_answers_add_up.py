"""Reasoning, content and calls are the same in every dialect, streamed or whole, however the tokens come."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.answers import Answer, answer_of
from tests.server.serving import Site
from tests.server.tool_calls import HERMES
from tests.server.tool_sites import MARKERS, TOOLS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

ANTHROPIC_TOOLS = [
    {"name": entry["function"]["name"], "input_schema": entry["function"]["parameters"]}  # type: ignore[index]
    for entry in TOOLS
]
FIELDS: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {"tools": TOOLS},
    "/v1/messages": {"tools": ANTHROPIC_TOOLS},
    "/api/chat": {"tools": TOOLS},
}
PIECES = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>", HERMES, "\n", " ", "I look.", "{", '{"name": "g"}', "é€"),
    '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>',
    '```json\n{\n  "name": "f",\n  "arguments": {\n    "a": "x\\n"\n  }\n}\n```',
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_tool_site(tmp_path_factory.mktemp("tools"), "thinking", Vocabulary(MARKERS))


async def _answers(site: Site) -> list[Answer]:
    """In every dialect, whole and streamed, without the words of each for why it ended."""
    turns = [{"role": "user", "content": "hi"}]
    found = []
    transport = httpx.ASGITransport(site.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path, fields in FIELDS.items():
            for stream in (False, True):
                body = {"model": "tiny", "max_tokens": 500, "messages": turns, "stream": stream} | fields
                found.append(answer_of(path, await client.post(path, json=body), stream=stream))
    await site.backend.until_idle()
    return [replace(answer, reason="") for answer in found]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=8), tokens_per_event=st.integers(1, 9))
def test_answers_add_up(site: Site, pieces: list[str], tokens_per_event: int) -> None:
    site.backend.script = Script(site.ids("".join(pieces)), tokens_per_event=tokens_per_event)
    first, *others = asyncio.run(_answers(site))
    assert others == [first] * len(others)
