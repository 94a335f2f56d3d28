"""What a client gets from a streaming completion."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

_SILENCE_S = 200.0
_HEAD_START_S = 2.0


class Served(Protocol):
    """An endpoint."""

    @property
    def url(self) -> str: ...


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


def stream(server: Served, request: Mapping[str, Any]) -> Answer:
    """Stream a completion to its end; no event may be an error."""
    with httpx.Client() as client:
        return _stream(client, server, request)


def _stream(client: httpx.Client, server: Served, request: Mapping[str, Any]) -> Answer:
    text, reasons, num_tokens = "", [], 0
    last_s, longest_s = time.monotonic(), 0.0
    body = {**request, "stream": True, "stream_options": {"include_usage": True}}
    with client.stream("POST", f"{server.url}/v1/completions", json=body, timeout=_SILENCE_S) as response:
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


def stream_during(server: Served, requests: Sequence[Mapping[str, Any]], action: Callable[[], object]) -> list[Answer]:
    """Stream each request again and again while `action` runs, and compare every answer with that of a quiet run.

    Each client keeps its connection for the next stream, as clients do.
    """
    with ThreadPoolExecutor(len(requests)) as pool:
        quiet = list(pool.map(lambda request: stream(server, request), requests))
        is_over = threading.Event()

        def repeat(request: Mapping[str, Any]) -> list[Answer]:
            answers = []
            with httpx.Client() as client:
                while not is_over.is_set():
                    answers.append(_stream(client, server, request))
            return answers

        running = [pool.submit(repeat, request) for request in requests]
        try:
            time.sleep(_HEAD_START_S)
            action()
        finally:
            is_over.set()
        by_request = [future.result() for future in running]
    for answers, expected in zip(by_request, quiet, strict=True):
        assert answers == [expected] * len(answers)
    return [answer for answers in by_request for answer in answers]
