"""What a client gets from a streaming completion."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.live_server import LiveServer


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish_reasons: tuple[str, ...]
    num_output_tokens: int


def stream(server: LiveServer, request: Mapping[str, Any]) -> Answer:
    """Stream a completion to its end; no event may be an error."""
    text, reasons, num_tokens = "", [], 0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{server.url}/v1/completions", json={**request, **options}, timeout=120) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            for choice in event["choices"]:
                text += choice["text"]
                reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
            num_tokens = event["usage"]["completion_tokens"] if event.get("usage") else num_tokens
    return Answer(text, tuple(reasons), num_tokens)
