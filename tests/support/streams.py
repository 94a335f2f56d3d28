"""What a client gets from a streaming completion."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.live_server import LiveServer


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish_reasons: tuple[str, ...]
    num_output_tokens: int
    longest_pause_s: float = field(compare=False)


def tiny_request(number: int, max_tokens: int) -> dict[str, Any]:
    """Greedy and seeded requests in turn, with prompts of their own."""
    sampling = {"temperature": 0} if number % 2 else {"temperature": 0.9, "top_p": 0.9, "seed": number}
    prompt = f"def function_{number}(argument):"
    return {"model": "tiny", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, **sampling}


def stream(server: LiveServer, request: Mapping[str, Any]) -> Answer:
    """Stream a completion to its end; no event may be an error."""
    text, reasons, num_tokens = "", [], 0
    last_s, longest_s = time.monotonic(), 0.0
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{server.url}/v1/completions", json={**request, **options}, timeout=120) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            now_s = time.monotonic()
            last_s, longest_s = now_s, max(longest_s, now_s - last_s)
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            for choice in event["choices"]:
                text += choice["text"]
                reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
            num_tokens = event["usage"]["completion_tokens"] if event.get("usage") else num_tokens
    return Answer(text, tuple(reasons), num_tokens, longest_s)
