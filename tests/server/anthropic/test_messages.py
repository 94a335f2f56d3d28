"""`/v1/messages` as Anthropic documents it: one message, whole or as events, and its errors."""

import json
from typing import Any

import httpx
import pytest

from llama4coder.errors import ContextTooLong, EngineDead, Overloaded, QueueTimeout
from llama4coder.types import FinishReason
from tests.server.serving import MakeSite, Site
from tests.support.fake_backend import Script

PATH = "/v1/messages"
TEXT = "def add(first, second):"
USER = {"role": "user", "content": "hi"}
TEXT_BLOCK = {"type": "text", "text": "more"}
NAMES = ["message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"]


async def send(site: Site, path: str = PATH, **fields: object) -> httpx.Response:
    return await site.client.post(path, json={"model": "tiny", "max_tokens": 50, "messages": [USER]} | fields)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, whose names are also the types of their data."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for frame in response.text.strip().split("\n\n"):
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def prompt_text(site: Site) -> str:
    return site.tokenizer.decode(site.backend.requests[-1].prompt_token_ids, skip_special=False)


async def test_a_whole_message(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), num_cached_tokens=4)
    reply = (await send(site)).json()
    num_prompt_tokens = len(site.backend.requests[0].prompt_token_ids)
    assert reply.pop("id").startswith("msg_")
    assert reply == {
        "type": "message",
        "role": "assistant",
        "model": "org/tiny",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": num_prompt_tokens - 4,
            "output_tokens": len(site.ids(TEXT)),
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0,
        },
    }


async def test_the_events_of_a_stream(site: Site) -> None:
    site.backend.script = Script(site.ids(TEXT), num_cached_tokens=4)
    found = events(await send(site, stream=True))
    kinds = [event["type"] for event in found]
    assert list(dict.fromkeys(kinds)) == [*NAMES, "message_delta", "message_stop"]
    start, opened = found[0]["message"], found[2]
    assert (start["content"], start["stop_reason"], start["role"]) == ([], None, "assistant")
    num_prompt_tokens = len(site.backend.requests[0].prompt_token_ids)
    assert (start["usage"]["input_tokens"], start["usage"]["cache_read_input_tokens"]) == (num_prompt_tokens - 4, 4)
    assert (opened["index"], opened["content_block"]) == (0, {"type": "text", "text": ""})
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"text_delta"}
    assert "".join(delta["text"] for delta in deltas) == TEXT
    last = found[-2]
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last["usage"] == {
        "input_tokens": num_prompt_tokens - 4,
        "output_tokens": len(site.ids(TEXT)),
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 0,
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "reason", "sequence"),
    [
        ({}, "end_turn", None),
        ({"stop_sequences": ["nothing", "first"]}, "stop_sequence", "first"),
        ({"max_tokens": 2}, "max_tokens", None),
    ],
)
async def test_stop_reasons(
    site: Site, stream: bool, fields: dict[str, object], reason: str, sequence: str | None
) -> None:
    site.backend.script = Script(site.ids(TEXT))
    response = await send(site, stream=stream, **fields)
    end = events(response)[-2]["delta"] if stream else response.json()
    assert (end["stop_reason"], end["stop_sequence"]) == (reason, sequence)


async def test_more_than_fits_is_what_fits(site: Site) -> None:
    site.backend.script = Script([10] * 300, finish_reason=FinishReason.LENGTH)
    reply = (await send(site, max_tokens=32_000)).json()
    (request,) = site.backend.requests
    assert len(request.prompt_token_ids) + request.stop.max_tokens == 256
    assert reply["stop_reason"] == "model_context_window_exceeded"


async def test_options_reach_the_backend(site: Site) -> None:
    await send(site, temperature=0.2, top_p=0.5, top_k=7)
    (request,) = site.backend.requests
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0.2, 0.5, 7)
    assert request.stop.max_tokens == 50
    await send(site, top_p=0, top_k=0)
    sampling = site.backend.requests[-1].sampling
    assert (sampling.temperature, sampling.top_k) == (1.0, 0) and 0 < sampling.top_p < 1e-5


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, TEXT_BLOCK]},
            "<|im_start|>system\na\n\nmore<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {"system": "a", "messages": [{"role": "system", "content": "b"}, USER]},
            "<|im_start|>system\na\n\nb<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {"system": "a", "messages": [USER, {"role": "system", "content": "late"}]},
            "<|im_start|>system\na<|im_end|>\n<|im_start|>user\nhi\n\nlate<|im_end|>\n<|im_start|>assistant\n",
        ),
        ({"messages": [{"role": "system", "content": ""}]}, "<|im_start|>assistant\n"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "<|im_start|>assistant\nx"),
        ({"system": None}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            {"messages": [USER, {"role": "user", "content": [TEXT_BLOCK]}]},
            "<|im_start|>user\nhi\n\nmore<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": "hm", "signature": "x"},
                            {"type": "redacted_thinking", "data": "x"},
                            {"type": "text", "text": "yes"},
                        ],
                    },
                    USER,
                ]
            },
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {"messages": [USER, {"role": "assistant", "content": "The answer ("}]},
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nThe answer (",
        ),
    ],
)  # fmt: skip
async def test_prompts(site: Site, fields: dict[str, object], prompt: str) -> None:
    assert (await send(site, **fields)).status_code == 200
    assert prompt_text(site) == prompt
    count = await send(site, f"{PATH}/count_tokens", **fields)
    assert count.json() == {"input_tokens": len(site.backend.requests[-1].prompt_token_ids)}


async def test_what_says_nothing_here_is_accepted(site: Site) -> None:
    fields = {
        "tools": [],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 31_999, "display": "summarized"},
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "service_tier": "auto",
        "never_heard_of": 5,
    }
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "anthropic-beta": "nobody-knows-2031-01-01"}
    body = {"model": "tiny", "max_tokens": 5, "messages": [USER]} | fields
    assert (await site.client.post(f"{PATH}?beta=true", json=body, headers=headers)).status_code == 200


def _message(*blocks: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"name": "f", "input_schema": {}}]}, "the chat template of this model knows no tools"),
        (_message({"type": "image", "source": {"type": "base64", "data": "x"}}), "this model cannot see images"),
        (_message({"type": "image", "source": {"type": "url", "url": "http://x"}}), "this model cannot see images"),
        (_message({"type": "document"}), "messages[0].content[0].document.source"),
        (_message({"type": "document", "source": {"type": "base64", "data": "x"}}), "documents must be plain text"),
        (_message({"type": "document", "source": {"type": "url", "url": "http://x"}}), "documents must be plain text"),
        (_message({"type": "text"}), "messages[0].content[0].text.text"),
        (_message({"type": "secret"}), "messages[0].content[0]: content blocks may be document, redacted_thinking, "),
        (_message({"text": "x"}), "messages[0].content[0]"),
        (_message({"type": "text", "text": 5}), "messages[0].content"),
        (_message("x"), "messages[0].content"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"system": 5}, "the field 'system' has"),
        ({"model": None}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [str(number) for number in range(65)]}, "stop strings"),
        ({"stream": "yes"}, "stream"),
        ({"thinking": {"type": "wildly"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "x"}}}}, "'output_config.format'"),
        ({"output_config": {"effort": "some"}}, "output_config.effort"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"container": "x"}, "container"),
    ],
)  # fmt: skip
async def test_bad_values_are_named(site: Site, fields: dict[str, object], words: str) -> None:
    response = await send(site, **fields)
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    assert words in body["error"]["message"]
    assert site.backend.requests == []


async def test_max_tokens_is_required(site: Site) -> None:
    response = await site.client.post(PATH, json={"model": "tiny", "messages": [USER]})
    assert "the field 'max_tokens' is missing" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens"])
async def test_other_models_are_not_found(site: Site, path: str) -> None:
    response = await send(site, path, model="claude-opus-4-1")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


async def test_other_paths_below_answer_in_this_dialect(site: Site) -> None:
    missing, method = await site.client.post(f"{PATH}/batches"), await site.client.get(PATH)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert (method.status_code, method.json()["error"]["type"]) == (405, "invalid_request_error")


async def test_a_long_prompt_is_refused_in_the_words_that_clients_know(site: Site) -> None:
    for long in ("word " * 400, "x" * 200_000):
        response = await send(site, messages=[{"role": "user", "content": long}])
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        assert response.json()["error"]["message"].startswith("prompt is too long: This model's maximum context")
    assert (await send(site, f"{PATH}/count_tokens", messages=[{"role": "user", "content": "word " * 400}])).json()[
        "input_tokens"
    ] > 400


async def test_a_large_body_is_too_large(make_site: MakeSite) -> None:
    site = make_site(max_body_bytes=1000)
    response = await send(site, messages=[{"role": "user", "content": "x" * 2000}])
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


async def test_models_without_a_template_say_so(make_site: MakeSite) -> None:
    response = await send(make_site(has_template=False))
    assert response.status_code == 400
    assert "no chat template" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "kind", "retry_after"),
    [
        (Overloaded("7 requests wait already", 2.3), 429, "rate_limit_error", "3"),
        (QueueTimeout("no room within 120 s", 41.2), 529, "overloaded_error", "42"),
        (EngineDead("the engine has failed"), 529, "overloaded_error", "5"),
        (ContextTooLong("too long", "prompt", 9, 8), 400, "invalid_request_error", None),
        (RuntimeError("secret"), 500, "api_error", None),
    ],
)
async def test_refusals(
    site: Site, stream: bool, refusal: Exception, status: int, kind: str, retry_after: str | None
) -> None:
    site.backend.script = Script(refusal=refusal)
    response = await send(site, stream=stream)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert response.headers.get("retry-after") == retry_after
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("death", "kind"), [(EngineDead("failed"), "overloaded_error"), (RuntimeError("secret"), "api_error")]
)
async def test_a_failure_midway_is_an_error_event(site: Site, death: Exception, kind: str) -> None:
    site.backend.script = Script(range(10, 20), death=death, death_after=2)
    response = await send(site, stream=True)
    found = events(response)
    assert [event["type"] for event in found][-1] == "error"
    assert "message_stop" not in response.text and "secret" not in response.text
    assert found[-1]["error"]["type"] == kind
    assert found[-1]["request_id"] == response.headers["request-id"]


async def test_silence_is_filled_with_pings(make_site: MakeSite) -> None:
    site = make_site(keep_alive_s=0.03)
    site.backend.script = Script([10, 11], first_delay_s=0.1, delay_s=0.1)
    kinds = [event["type"] for event in events(await send(site, stream=True))]
    assert kinds[0] == "ping"
    assert kinds.count("ping") >= 4
