"""The engine as a `GenerationBackend` in the same process: `server.create_app` on top of it needs no Ray."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from llama4coder.engine.probe import probe_request
from llama4coder.engine.thread import EngineThread
from llama4coder.errors import DeadlineExceeded, QueueTimeout, Unavailable
from llama4coder.types import GenerateRequest, TokenEvent


class AsyncEngine:
    """Bridges the engine's thread to asyncio; `render_metrics` gives this process's metrics as Prometheus text."""

    def __init__(self, thread: EngineThread, render_metrics: Callable[[], bytes]) -> None:
        self._thread = thread
        self._render_metrics = render_metrics

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        async with aclosing(self._stream(request, urgent=False)) as events:
            async for event in events:
                yield event

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        try:
            async with asyncio.timeout(timeout_s), aclosing(self._stream(probe_request(), urgent=True)) as events:
                async for _ in events:
                    pass
        except TimeoutError as error:
            raise DeadlineExceeded(f"the engine produced no token within {timeout_s:g} s") from error

    async def metrics(self) -> bytes:
        """See `GenerationBackend.metrics`."""
        return self._render_metrics()

    async def _stream(self, request: GenerateRequest, *, urgent: bool) -> AsyncGenerator[TokenEvent, None]:
        sink = _QueueSink(asyncio.get_running_loop())
        self._thread.submit(request, sink, urgent=urgent)
        try:
            while True:
                event = await sink.next_event()
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            self._thread.abort(request.request_id)


class _QueueSink:
    """Carries one request's events from the engine's thread into its event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[TokenEvent | Unavailable] = asyncio.Queue()

    def publish(self, events: Sequence[TokenEvent]) -> None:
        for event in events:
            self._put(event)

    def reject(self, request_id: str, error: QueueTimeout) -> None:
        self._put(error)

    def fail(self, error: Unavailable) -> None:
        self._put(error)

    async def next_event(self) -> TokenEvent:
        item = await self._queue.get()
        if isinstance(item, Unavailable):
            raise item
        return item

    def _put(self, item: TokenEvent | Unavailable) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: its reader is gone, and aborted or will
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
