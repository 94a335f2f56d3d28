"""A backend's latencies and refusals, measured from outside."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llama4coder.backend import GenerationBackend
from llama4coder.errors import Llama4CoderError
from llama4coder.obs.metrics import Metrics
from llama4coder.types import GenerateRequest, TokenEvent


class MeasuredBackend:
    """A `GenerationBackend` that behaves as the one inside it, and observes first tokens, further ones, and probes."""

    def __init__(self, inner: GenerationBackend, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        histogram = self._metrics.time_to_first_token
        since_s = time.perf_counter()
        async with aclosing(self._inner.generate(request)) as events:
            async for event in events:
                if event.token_ids:
                    now_s = time.perf_counter()
                    histogram.observe(now_s - since_s)
                    since_s, histogram = now_s, self._metrics.inter_token_latency
                yield event

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        since_s = time.perf_counter()
        try:
            await self._inner.probe(timeout_s)
        except Llama4CoderError:
            self._metrics.probe_failures.inc()
            raise
        self._metrics.probe_time.observe(time.perf_counter() - since_s)

    async def metrics(self) -> bytes:
        """See `GenerationBackend.metrics`."""
        return await self._inner.metrics()
