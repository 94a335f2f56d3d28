"""What clients of each dialect make of an answer that may hold reasoning and calls, whole or streamed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Answer:
    """An answer in no dialect."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()  # names, and arguments as JSON
    reason: str = ""


def answer_of(path: str, response: httpx.Response, *, stream: bool) -> Answer:
    """The answer in a response of one of the chat endpoints."""
    assert response.status_code == 200, response.text
    if path.startswith("/api/"):
        return _of_ollama(map(json.loads, response.text.removesuffix("\n").split("\n")))
    if path.startswith("/v1/messages"):
        return _of_anthropic(_put_together(response.text) if stream else response.json())
    if not stream:
        (choice,) = response.json()["choices"]
        return _of_openai([choice["message"]], choice["finish_reason"])
    frames = [frame.removeprefix("data: ") for frame in response.text.strip().split("\n\n")]
    assert frames[-1] == "[DONE]"
    choices = [choice for frame in frames[:-1] for choice in json.loads(frame)["choices"]]
    return _of_openai([choice["delta"] for choice in choices], choices[-1]["finish_reason"])


def events_in(text: str) -> list[dict[str, Any]]:
    """Anthropic's events, whose names are the types of their data, and without pings."""
    frames = [frame.split("\n") for frame in text.strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name for name, _ in frames] == [f"event: {event['type']}" for event in events]
    return [event for event in events if event["type"] != "ping"]


def _put_together(text: str) -> dict[str, Any]:
    """A message out of its events, as Anthropic's own clients put it together."""
    start, *events = events_in(text)
    message: dict[str, Any] = start["message"]
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open and event["index"] == len(message["content"])
                message["content"].append(event["content_block"] | {"partial": ""})
                is_open = True
            case "content_block_delta":
                assert is_open and event["index"] == len(message["content"]) - 1
                _add(message["content"][-1], event["delta"])
            case "content_block_stop":
                block = message["content"][-1]
                if partial := block.pop("partial"):
                    block["input"] = json.loads(partial)
                is_open = False
            case "message_delta":
                assert not is_open
                message |= event["delta"] | {"usage": event["usage"]}
    assert events[-1] == {"type": "message_stop"}
    return message


def _add(block: dict[str, Any], delta: Mapping[str, str]) -> None:
    kind = delta["type"].removesuffix("_delta")
    if kind == "input_json":
        block["partial"] += delta["partial_json"]
    else:
        block[kind] += delta[kind]


def _of_anthropic(message: Mapping[str, Any]) -> Answer:
    blocks = message["content"]
    texts = {kind: "".join(block[kind] for block in blocks if block["type"] == kind) for kind in ("thinking", "text")}
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert all(call["id"].startswith("toolu_") for call in calls)
    named = tuple((call["name"], json.dumps(call["input"])) for call in calls)
    return Answer(texts["thinking"], texts["text"], named, message["stop_reason"])


def _of_ollama(lines: Iterable[Mapping[str, Any]]) -> Answer:
    *parts, last = lines
    messages = [part["message"] for part in (*parts, last)]
    assert not any(part["done"] for part in parts) and last["done"]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    return Answer(
        "".join(message.get("thinking", "") for message in messages),
        "".join(message["content"] for message in messages),
        tuple((call["function"]["name"], json.dumps(call["function"]["arguments"])) for call in calls),
        last["done_reason"],
    )


def _of_openai(deltas: list[Mapping[str, Any]], reason: str) -> Answer:
    calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
    return Answer(
        "".join(delta.get("reasoning_content") or "" for delta in deltas),
        "".join(delta.get("content") or "" for delta in deltas),
        tuple((call["name"], json.dumps(json.loads(call["arguments"]))) for call in calls),
        reason,
    )
