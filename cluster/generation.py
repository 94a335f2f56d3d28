"""What a target replica does with a request: the engine's part of a handle call, free of Ray."""

import asyncio
from dataclasses import dataclass

from cluster.channel.endpoint import Endpoint
from cluster.channel.token_sender import TokenSender
from cluster.errors import Moved
from llama4coder.engine.async_engine import AsyncEngine
from llama4coder.engine.thread import EngineThread
from llama4coder.errors import EngineDead, Overloaded, QueueTimeout, Replaced, RequestError
from llama4coder.types import FinishReason, GenerateRequest


@dataclass(frozen=True, slots=True)
class GenerationOutcome:
    """How a generation ended, by which the ingress knows when it has every token."""

    finish_reason: FinishReason
    num_output_tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not begun, or not ended; an answer, where Serve would log a failure with a traceback."""

    error: RequestError | Overloaded | EngineDead | QueueTimeout | Moved | Replaced


class GenerationService:
    """Feeds a started engine from the event loop; owns the token channel's sending end."""

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread
        self._engine = AsyncEngine(thread, bytes)  # for the probe, whose token goes nowhere
        self._sender = TokenSender()
        self._hands_over = False

    async def generate(self, request: GenerateRequest, ingress: Endpoint) -> GenerationOutcome | Refusal:
        """Generate to the end, sending every token to `ingress`; cancelling the call aborts the request."""
        if self._hands_over:
            return Refusal(_moved())
        sink = self._sender.sink(ingress)
        ending = sink.open(request.request_id)
        try:
            self._thread.submit(request, sink)
        except (RequestError, Overloaded, EngineDead) as error:
            sink.forget(request.request_id)
            return Refusal(error)
        try:
            last = await ending
        except (QueueTimeout, Moved) as error:
            return Refusal(error)
        finally:
            sink.forget(request.request_id)
            self._thread.abort(request.request_id)
        assert last.finish_reason is not None, "only the last event ends a request"
        return GenerationOutcome(last.finish_reason, last.offset + len(last.token_ids))

    def hand_over(self) -> None:
        """End every request with `Moved`, and whatever still comes; idempotent."""
        self._hands_over = True
        self._sender.fail(_moved())

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        await self._engine.probe(timeout_s)

    def check(self) -> None:
        """Raise `EngineDead` if nothing more can be generated."""
        self._thread.check()

    async def close(self) -> None:
        """Stop the engine, then the channel that it publishes to."""
        await asyncio.to_thread(self._thread.stop)
        self._sender.close()


def _moved() -> Moved:
    return Moved("the replica is stopping")
