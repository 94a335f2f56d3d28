"""Requests of the Responses dialect, and what their streams add up to."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai

from tests.server.serving import Site, listening


async def respond(site: Site, **fields: object) -> httpx.Response:
    """A response with the least that it needs, and `fields`."""
    return await site.client.post("/v1/responses", json={"model": "tiny", "input": "hi"} | fields)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, whose names and numbers are right."""
    assert response.status_code == 200, response.text
    frames = [frame.split("\n") for frame in response.text.split("\n\n") if frame and not frame.startswith(":")]
    events: list[dict[str, Any]] = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name.removeprefix("event: ") for name, _ in frames] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds_of(events: list[dict[str, Any]]) -> list[str]:
    """Their types, without what all begin with; neighbours of one type are one."""
    kinds = [event["type"].removeprefix("response.") for event in events]
    return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


def function(name: str, **properties: str) -> Any:
    """A function in the dialect's flat shape."""
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "name": name, "description": f"{name} it", "parameters": parameters, "strict": False}


TOOLS: Any = [function("read_file", path="string"), function("g")]


@asynccontextmanager
async def client_of(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client over a real socket."""
    async with listening(site.app) as address:
        async with openai.AsyncOpenAI(base_url=f"{address.url}/v1", api_key="none", max_retries=0) as client:
            yield client
