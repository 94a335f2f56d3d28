"""Sends a load to a running endpoint, and looks at the clock."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from llama4coder.calibration.load import PlannedRequest, TimedRequest
from llama4coder.errors import ConfigError
from llama4coder.progress import Progress

_TIMEOUT_S = 600.0
_EVENT, _END = b"data: {", b"data: [DONE]"


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """Where requests go; `url` ends in `/v1`."""

    url: str
    model: str
    api_key: str | None = None


async def drive(endpoint: Endpoint, requests: Sequence[PlannedRequest], progress: Progress) -> list[TimedRequest]:
    """Send each at its time, and wait for all; a client that does little, since it may share the processor.

    Raises:
        ConfigError: the endpoint cannot be reached, refused a request, or broke one off.
    """
    headers = {} if endpoint.api_key is None else {"authorization": f"Bearer {endpoint.api_key}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT_S, limits=limits, trust_env=False) as client:
        started_s = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                sender = _Sender(client, endpoint, started_s, progress)
                tasks = [group.create_task(sender.send(request)) for request in requests]
        except* (httpx.HTTPError, httpx.InvalidURL) as errors:
            raise ConfigError(f"{endpoint.url} cannot be measured: {_first(errors)}; is it running?") from None
        except* ConfigError as refused:
            raise _first(refused) from None
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class _Sender:
    client: httpx.AsyncClient
    endpoint: Endpoint
    started_s: float
    progress: Progress

    async def send(self, request: PlannedRequest) -> TimedRequest:
        body = {
            "model": self.endpoint.model,
            "prompt": request.prompt_token_ids,
            "max_tokens": request.num_output,
            "temperature": 1.0,
            "ignore_eos": True,
            "stream": True,
        }
        content = self.client.build_request("POST", f"{self.endpoint.url}/completions", json=body)
        await asyncio.sleep(request.at_s - self._now_s())
        sent_s = self._now_s()
        response = await self.client.send(content, stream=True)
        try:
            timed = await self._read(response, request, sent_s)
        finally:
            await response.aclose()
        self.progress.advance(1)
        return timed

    async def _read(self, response: httpx.Response, request: PlannedRequest, sent_s: float) -> TimedRequest:
        if response.is_error:
            raise ConfigError(f"{self.endpoint.url} refused a request with HTTP {response.status_code}")
        first_s = last_s = None
        received = b""
        async for received in response.aiter_raw():
            if _EVENT in received:
                last_s = self._now_s()
                first_s = last_s if first_s is None else first_s
        if first_s is None or last_s is None or _END not in received:
            raise ConfigError(f"{self.endpoint.url} broke a request off")
        return TimedRequest(request, sent_s, first_s, last_s)

    def _now_s(self) -> float:
        return time.perf_counter() - self.started_s


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    return errors.exceptions[0]
