"""The one seam between the HTTP server and whatever generates tokens."""

from collections.abc import AsyncGenerator
from typing import Protocol

from llama4coder.types import GenerateRequest, TokenEvent


class GenerationBackend(Protocol):
    """Generates tokens for requests; implemented by the in-process engine, by the cluster, and by fakes.

    Contract, checked by one suite on every implementation:
    - `generate` yields the request's events in order; offsets are contiguous; the last one has a finish reason.
    - A refused request raises from the first `__anext__`, before any event, an error of `llama4coder.errors`.
    - Closing the generator (`aclose`, or cancelling the task that awaits it) aborts the request: its blocks are free
      within one step. Whoever stops iterating early must close it.
    - A failure underneath raises `Unavailable`; a stream never just ends without a finish reason.
    """

    def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]: ...

    async def probe(self, timeout_s: float) -> None:
        """Send one real token through every rank, ahead of the queue; raise `Unavailable` if it does not return."""
        ...

    async def metrics(self) -> bytes:
        """The whole deployment's metrics in Prometheus text format."""
        ...
