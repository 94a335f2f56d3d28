"""`think`, and what was thought, in Ollama's chats and completions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.answers import Answer, answer_of
from tests.server.ollama.calls import USER, chat, generate, lines
from tests.server.serving import Site
from tests.server.tool_calls import HERMES, prompt_of
from tests.server.tool_sites import MARKERS, TOOLS, Vocabulary, make_tool_site
from tests.support.fake_backend import Script

THINKS = Vocabulary(MARKERS)
TEXT = "<think>\nI add.\n</think>\n\nIt is 3."
Call = Callable[..., Any]


@pytest.fixture
def thinker(tmp_path: Path) -> Site:
    site = make_tool_site(tmp_path, "thinking", THINKS)
    site.backend.script = Script(site.ids(TEXT), tokens_per_event=2)
    return site


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [{}, {"think": None}, {"think": True}, {"think": "high"}])
async def test_thinking_stands_apart(thinker: Site, fields: dict[str, object], stream: bool) -> None:
    answer = answer_of("/api/chat", await chat(thinker, stream=stream, **fields), stream=stream)
    assert answer == Answer("I add.", "It is 3.", (), "stop")
    assert prompt_of(thinker).endswith("assistant\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_then_a_call(thinker: Site, stream: bool) -> None:
    thinker.backend.script = Script(thinker.ids(f"<think>\nI look.\n</think>\n\n{HERMES}"))
    answer = answer_of("/api/chat", await chat(thinker, stream=stream, tools=TOOLS), stream=stream)
    assert answer == Answer("I look.", "", (("read_file", '{"path": "a.py"}'),), "stop")


@pytest.mark.parametrize("stream", [False, True])
async def test_completions_think_as_well(thinker: Site, stream: bool) -> None:
    response = await generate(thinker, stream=stream)
    parts = lines(response) if stream else [response.json()]
    assert "".join(part.get("thinking", "") for part in parts) == "I add."
    assert "".join(part["response"] for part in parts) == "It is 3."


@pytest.mark.parametrize("call", [chat, generate])
async def test_templates_switch_it_off(thinker: Site, call: Call) -> None:
    assert (await call(thinker, think=False)).status_code == 200
    assert prompt_of(thinker).endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("call", [chat, generate])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_cannot_but_think_does_so_unseen(tmp_path: Path, call: Call, stream: bool) -> None:
    site = make_tool_site(tmp_path, "always_thinking", THINKS)
    site.backend.script = Script(site.ids("I add.\n</think>\n\nIt is 3."), tokens_per_event=1000)
    response = await call(site, think=False, stream=stream)
    assert response.status_code == 200
    assert "thinking" not in response.text and "It is 3." in response.text
    assert "thinking" in (await call(site, think=True, stream=stream)).text


@pytest.mark.parametrize(("think", "effort"), [(None, ""), (False, "none"), (True, "medium"), ("low", "low")])
async def test_templates_with_efforts(tmp_path: Path, think: object, effort: str) -> None:
    site = make_tool_site(tmp_path, "effort")
    assert (await chat(site, think=think)).status_code == 200
    assert f"effort={effort}<|im_start|>" in prompt_of(site)


async def test_a_model_that_cannot_think_says_so(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "hermes")
    for call in (chat, generate):
        for think in (True, "low"):
            response = await call(site, think=think)
            assert (response.status_code, "does not think" in response.json()["error"]) == (400, True)
        assert (await call(site, think=False)).status_code == 200


async def test_what_was_thought_goes_back_to_the_template(thinker: Site) -> None:
    await chat(thinker, messages=[USER, {"role": "assistant", "content": "yes", "thinking": "hm"}, USER])
    assert "assistant\nyes<think>hm</think><|im_end|>" in prompt_of(thinker)


async def test_capabilities_tell(thinker: Site) -> None:
    shown = (await thinker.client.post("/api/show", json={"model": "tiny"})).json()
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
