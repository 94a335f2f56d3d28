"""What of a conversation reaches the model."""

from pathlib import Path

import pytest

from tests.server.responses.asking import TOOLS, function, respond
from tests.server.serving import Site
from tests.server.tool_calls import prompt_of
from tests.server.tool_sites import MARKERS, Vocabulary, make_tool_site


@pytest.fixture
def agent(tmp_path: Path) -> Site:
    return make_tool_site(tmp_path, "thinking", Vocabulary(MARKERS))


def said(role: str, *texts: str) -> dict[str, object]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text} for text in texts]}


async def test_the_system_speaks_first_and_later_in_the_users_turn(agent: Site) -> None:
    items = [said("developer", "Rules.", "Two."), {"role": "system", "content": "More."}, said("user", "hi")]
    late = [said("assistant", "Yes?"), said("developer", "Be brief."), said("user", "Go on."), said("user", "Now.")]
    assert (await respond(agent, instructions="Start.", input=[*items, *late])).status_code == 200
    assert prompt_of(agent) == (
        "<|im_start|>system\nStart.\n\nRules.\nTwo.\n\nMore.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nBe brief.\n\nGo on.\n\nNow.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_a_turn_of_calls_is_one(agent: Site) -> None:
    items = [
        said("user", "hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I think."}]},
        said("assistant", "I look."),
        {"type": "function_call", "call_id": "c1", "name": "spawn", "namespace": "team", "arguments": '{"n": 1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "a<|im_end|>"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "no"},
    ]
    assert (await respond(agent, input=items)).status_code == 200
    assert prompt_of(agent).endswith(
        "<|im_start|>assistant\nI look.<think>I think.</think>"
        '<tool_call>\n{"name": "team__spawn", "arguments": {"n": 1}}\n</tool_call>'
        '<tool_call>\n{"name": "patch", "arguments": {"input": "a<|im_end|>"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\ndone<result id=c1><|im_end|>\n<|im_start|>tool\nno<result id=c2><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_text_alone_is_the_users(agent: Site) -> None:
    assert (await respond(agent, input="hi")).status_code == 200
    assert prompt_of(agent) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


async def test_a_tools_image_becomes_words(agent: Site) -> None:
    image = [{"type": "input_text", "text": "Here:"}, {"type": "input_image", "image_url": "data:image/png;base64,x"}]
    items = [
        said("user", "hi"),
        {"type": "function_call", "call_id": "c1", "name": "view", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": image},
    ]
    assert (await respond(agent, input=items)).status_code == 200
    assert "Here:\n[an image, which this model cannot see]<result" in prompt_of(agent)


async def test_the_model_is_offered_functions(agent: Site) -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    tools = [
        *TOOLS,
        {"type": "custom", "name": "patch", "description": "Patch.", "format": grammar},
        {"type": "namespace", "name": "team", "description": "Agents.", "tools": [function("spawn", n="integer")]},
        {"type": "web_search", "external_web_access": True},
        {"type": "image_generation", "output_format": "png"},
    ]
    reply = (await respond(agent, tools=tools)).json()
    prompt = prompt_of(agent)
    assert '"name": "read_file"' in prompt and '"name": "team__spawn", "description"' in prompt.replace("\\n", "\n")
    assert "Agents.\\nspawn it" in prompt
    assert "Patch.\\n'input' must match this lark grammar:\\nstart: WORD" in prompt.replace("\\u0027", "'")
    assert "web_search" not in prompt and "image" not in prompt
    assert [tool["type"] for tool in reply["tools"]] == ["function", "function", "custom", "namespace"]
    assert reply["tools"][0] == TOOLS[0]


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        ("auto", ["read_file", "g"]),
        ("none", []),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}, ["g"]),
    ],
)
async def test_a_choice_says_what_is_offered(agent: Site, choice: object, offered: list[str]) -> None:
    reply = (await respond(agent, tools=TOOLS, tool_choice=choice)).json()
    assert reply["tool_choice"] == choice
    assert [name for name in ("read_file", "g") if f'"name": "{name}"' in prompt_of(agent)] == offered


async def test_settings_reach_the_engine(site: Site) -> None:
    settings = {"temperature": 0.5, "top_p": 0.25, "seed": 7, "max_output_tokens": 9, "cache_salt": "a"}
    reply = (await respond(site, service_tier="flex", **settings)).json()
    (request,) = site.backend.requests
    assert (request.sampling.temperature, request.sampling.top_p, request.seed) == (0.5, 0.25, 7)
    assert (request.stop.max_tokens, request.cache_salt, request.priority.value) == (9, "a", "batch")
    assert (reply["temperature"], reply["top_p"], reply["max_output_tokens"]) == (0.5, 0.25, 9)
    assert reply["service_tier"] == "flex"


async def test_effort_reaches_the_template(tmp_path: Path) -> None:
    site = make_tool_site(tmp_path, "effort")
    reply = (await respond(site, reasoning={"effort": "low"})).json()
    assert prompt_of(site).endswith("effort=low<|im_start|>assistant\n")
    assert reply["reasoning"] == {"effort": "low", "summary": None}
    assert (await respond(site, reasoning={"effort": "max"})).status_code == 200
    assert prompt_of(site).endswith("effort=xhigh<|im_start|>assistant\n")


async def test_hints_and_whatever_nobody_knows_change_nothing(site: Site) -> None:
    hints = {
        "store": True,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "include": ["reasoning.encrypted_content"],
        "truncation": "disabled",
        "text": {"verbosity": "medium", "format": {"type": "text"}},
        "max_tool_calls": 3,
        "background": False,
        "previous_response_id": None,
        "client_metadata": {"x": "y"},
        "stream_options": {"include_obfuscation": True},
    }
    reply = (await respond(site, **hints)).json()
    assert (reply["store"], reply["user"], reply["prompt_cache_key"]) == (False, "u", "k")
    await respond(site)
    with_hints, without = site.backend.requests
    assert with_hints.prompt_token_ids == without.prompt_token_ids
    assert with_hints.sampling == without.sampling
