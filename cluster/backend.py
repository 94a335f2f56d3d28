"""The cluster as a `GenerationBackend`: requests by handle call, tokens by token channel."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.channel.token_receiver import TokenReceiver, TokenStream
from cluster.continuation import Continuation
from cluster.errors import NotBegun, original_error
from cluster.generation import GenerationOutcome, Refusal
from cluster.metrics_hub import MetricsPusher
from llama4coder.errors import DeadlineExceeded, EngineDead, Llama4CoderError, Overloaded, StreamLost, Unavailable
from llama4coder.types import GenerateRequest, TokenEvent

_LAST_TOKENS_TIMEOUT_S = 5.0  # the outcome and the last frame take different roads
_PROBE_MARGIN_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What becomes of requests that lose their replica."""

    timeout_s: float
    on_recovered: Callable[[], object]  # called when one has gone on


class ClusterBackend:
    """Implements `llama4coder.backend.GenerationBackend` over the target deployment; for one event loop.

    A request whose replica is lost goes on at another, or at the same one when it has been started anew.
    """

    def __init__(
        self, target: DeploymentHandle[Any], receiver: TokenReceiver, pusher: MetricsPusher, recovery: Recovery
    ) -> None:
        self._target = target
        self._receiver = receiver
        self._pusher = pusher
        self._recovery = recovery

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        continuation = Continuation(request, self._recovery.timeout_s)
        while True:
            try:
                async with aclosing(self._attempt(continuation)) as events:
                    async for event in events:
                        yield event
                return
            except (Unavailable, Overloaded) as error:
                pause_s = continuation.pause_after(error)
                _log.warning("a request lost its replica and goes on elsewhere: %s", type(error).__name__)
            await asyncio.sleep(pause_s)

    async def _attempt(self, continuation: Continuation) -> AsyncGenerator[TokenEvent, None]:
        """What one replica gives, to the last event unless it fails."""
        request = continuation.next_request()
        stream = self._receiver.open(request.request_id, len(request.output_token_ids))
        response: Any = self._target.generate.remote(request, self._receiver.endpoint)
        watcher = asyncio.create_task(_watch(response, stream, self._recovery.timeout_s))
        try:
            while True:
                event = await self._next_event(stream, continuation)
                yield continuation.take(event)
                if event.finish_reason is not None:
                    return
        finally:
            self._receiver.close_stream(request.request_id)
            if not watcher.done():
                response.cancel()
                watcher.cancel()

    async def _next_event(self, stream: TokenStream, continuation: Continuation) -> TokenEvent:
        if continuation.deadline_s is None:
            return await stream.next_event()
        try:
            async with asyncio.timeout(continuation.deadline_s - time.monotonic()):
                event = await stream.next_event()
        except TimeoutError:
            raise continuation.expired() from None
        self._recovery.on_recovered()
        return event

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        response: Any = self._target.probe.remote(timeout_s)
        try:
            async with asyncio.timeout(timeout_s + _PROBE_MARGIN_S):
                await response
        except TimeoutError as error:
            response.cancel()
            raise DeadlineExceeded(f"no replica produced a token within {timeout_s:g} s") from error
        except (RayError, RayServeException) as error:
            raise original_error(error) from None

    async def metrics(self) -> bytes:
        """See `GenerationBackend.metrics`."""
        return await self._pusher.everybody()


async def _watch(response: Any, stream: TokenStream, patience_s: float) -> None:
    """End the stream when the call ends before it: with the call's error or refusal, or for its missing tokens.

    A call that no replica takes within `patience_s` ends, too.
    """
    try:
        async with asyncio.timeout(patience_s):
            await response._fetch_future_result_async()  # there is no public way to hear that a replica has taken it
        outcome: GenerationOutcome | Refusal = await response
    except TimeoutError:
        response.cancel()
        stream.fail(DeadlineExceeded(f"no replica took the request within {patience_s:g} s"))
        return
    except (RayError, RayServeException, Llama4CoderError) as error:
        stream.fail(original_error(error))
        return
    if isinstance(outcome, Refusal):
        refusal = outcome.error
        stream.fail(NotBegun(str(refusal)) if isinstance(refusal, EngineDead) else refusal)
        return
    await asyncio.sleep(_LAST_TOKENS_TIMEOUT_S)
    stream.fail(StreamLost(f"not all of {outcome.num_output_tokens} tokens arrived"))
