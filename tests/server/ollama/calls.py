"""Calls of Ollama's endpoints, and what their streams hold."""

import json
from typing import Any

import httpx

from tests.server.serving import Site

TEXT = "def add(first, second):"
USER = {"role": "user", "content": "hi"}


async def chat(site: Site, **fields: object) -> httpx.Response:
    return await site.client.post("/api/chat", json={"model": "tiny", "messages": [USER]} | fields)


async def generate(site: Site, **fields: object) -> httpx.Response:
    return await site.client.post("/api/generate", json={"model": "tiny", "prompt": "hi"} | fields)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """The lines of a stream, none of which is empty."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text[:-1].split("\n")]


def prompt_text(site: Site) -> str:
    return site.tokenizer.decode(site.backend.requests[-1].prompt_token_ids, skip_special=False)
