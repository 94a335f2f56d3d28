"""A client that costs little: it shares the processor with what it measures."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """One burst: a completion per prompt, all at once, each of exactly so many tokens."""

    prompts: Sequence[Sequence[int]]
    num_output_tokens: int
    temperature: float

    def beginning_with(self, token_id: int) -> "Load":
        """The same but for the first token of every prompt."""
        return replace(self, prompts=[[token_id, *prompt[1:]] for prompt in self.prompts])


@dataclass(frozen=True)
class StreamTimes:
    """When one stream's bytes came, in seconds on the burst's own clock."""

    sent_s: float
    arrivals_s: Sequence[float]

    @property
    def first_s(self) -> float:
        """Time to first token."""
        return self.arrivals_s[0] - self.sent_s

    @property
    def gaps_s(self) -> list[float]:
        """Times between events; tokens that arrived together count once."""
        return [after - before for before, after in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]

    @property
    def whole_s(self) -> float:
        """Time to the last token."""
        return self.arrivals_s[-1] - self.sent_s


class _Stream(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._arrivals_s: list[float] = []
        self._received: list[bytes] = []
        self._sent_s = 0.0
        self.ended: asyncio.Future[StreamTimes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._sent_s = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if b"data: {" in data:
            self._arrivals_s.append(time.perf_counter())
        self._received.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        received = b"".join(self._received)
        if b" 200 " in received.partition(b"\r\n")[0] and b"data: [DONE]" in received:
            self.ended.set_result(StreamTimes(self._sent_s, self._arrivals_s))
        else:
            self.ended.set_exception(ConnectionError(f"a stream broke off: {received[:200]!r}"))


async def burst(url: str, model: str, load: Load) -> list[StreamTimes]:
    """Stream every prompt of `load` at once from the OpenAI-compatible server at `url`."""
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    streams = [_Stream(_request(host, model, prompt, load)) for prompt in load.prompts]
    loop = asyncio.get_running_loop()
    for stream in streams:
        await loop.create_connection(partial(_itself, stream), host, port)
    return await asyncio.gather(*(stream.ended for stream in streams))


def decode_tokens_per_s(streams: Sequence[StreamTimes], num_output_tokens: int) -> float:
    """Tokens/s from the moment every stream has its first token, as the engine alone is measured."""
    start_s = max(stream.arrivals_s[0] for stream in streams)
    end_s = max(stream.arrivals_s[-1] for stream in streams)
    before = sum(sum(arrival <= start_s for arrival in stream.arrivals_s) for stream in streams)
    return (num_output_tokens * len(streams) - before) / (end_s - start_s)


def _itself(stream: _Stream) -> _Stream:
    return stream


def _request(host: str, model: str, prompt: Sequence[int], load: Load) -> bytes:
    fields = {"model": model, "prompt": list(prompt), "max_tokens": load.num_output_tokens}
    body = json.dumps(fields | {"temperature": load.temperature, "ignore_eos": True, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body
