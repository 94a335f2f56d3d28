"""What clients of each dialect make of an answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any

WHOLE_TEXT: Mapping[str, Callable[[Any], str]] = {  # by path
    "/api/chat": lambda reply: reply["message"]["content"],
    "/api/generate": lambda reply: reply["response"],
    "/v1/messages": lambda reply: reply["content"][0]["text"],
    "/v1/chat/completions": lambda reply: reply["choices"][0]["message"]["content"],
    "/v1/responses": lambda reply: reply["output"][0]["content"][0]["text"],
}


def streamed_text(path: str, body: str) -> str:
    """The text of a stream that has ended as it should."""
    if path.startswith("/api/"):
        parts = [json.loads(line) for line in body.removesuffix("\n").split("\n")]
        assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
        return "".join(part["message"]["content"] if "message" in part else part["response"] for part in parts)
    data = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    if path.startswith("/v1/messages"):
        events = [json.loads(event) for event in data]
        assert events[-1]["type"] == "message_stop"
        return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    if path.startswith("/v1/responses"):
        events = [json.loads(event) for event in data]
        assert events[-1]["type"] in ("response.completed", "response.incomplete")
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert data[-1] == "[DONE]"
    chunks = [json.loads(event) for event in data[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
