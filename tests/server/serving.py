"""An endpoint over a fake backend: in process for most tests, behind real sockets for the rest."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import ModelDetails, ServedModel
from tests.support.fake_backend import FakeBackend
from tests.support.tiny import VOCAB_SIZE

MODEL = ServedModel(
    name="org/tiny",
    aliases=("tiny",),
    context_length=256,
    vocab_size=VOCAB_SIZE,
    eos_token_ids=frozenset({2}),
    created_unix_s=1700000000,
    details=ModelDetails("llama", 134_515_008, "bfloat16", 270_000_000),
)


@dataclass(frozen=True)
class Site:
    """One endpoint and what stands behind it."""

    app: FastAPI
    backend: FakeBackend
    tokenizer: Tokenizer
    registry: CollectorRegistry
    client: httpx.AsyncClient

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_bos=False)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"llama4coder_{name}", labels) or 0.0

    async def chat(self, **fields: object) -> httpx.Response:
        """A chat with the least that it needs, and `fields`."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]} | fields
        return await self.client.post("/v1/chat/completions", json=body)

    async def complete(self, **fields: object) -> httpx.Response:
        """A completion with the least that it needs, and `fields`."""
        return await self.client.post("/v1/completions", json={"model": "tiny", "prompt": "def add"} | fields)


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The JSON events of a stream that has ended as it should."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in response.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


MakeSite = Callable[..., Site]


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[Address]:
    """`app` behind uvicorn on a free loopback port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield Address(host, port)
    finally:
        server.should_exit = True
        await task


async def raw_exchange(address: Address, parts: Sequence[bytes]) -> bytes:
    """Send bytes as they are and read until the server closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer
