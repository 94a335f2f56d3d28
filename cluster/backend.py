"""The cluster as a `GenerationBackend`: requests by handle call, tokens by token channel."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.channel.token_receiver import TokenReceiver, TokenStream
from cluster.errors import original_error
from cluster.generation import GenerationOutcome, Refusal
from cluster.metrics_hub import MetricsPusher
from llama4coder.errors import DeadlineExceeded, Llama4CoderError, StreamLost
from llama4coder.types import GenerateRequest, TokenEvent

_LAST_TOKENS_TIMEOUT_S = 5.0  # the outcome and the last frame take different roads
_PROBE_MARGIN_S = 0.5


class ClusterBackend:
    """Implements `llama4coder.backend.GenerationBackend` over the target deployment; for one event loop."""

    def __init__(self, target: DeploymentHandle[Any], receiver: TokenReceiver, pusher: MetricsPusher) -> None:
        self._target = target
        self._receiver = receiver
        self._pusher = pusher

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        stream = self._receiver.open(request.request_id)
        response: Any = self._target.generate.remote(request, self._receiver.endpoint)
        watcher = asyncio.create_task(_watch(response, stream))
        try:
            while True:
                event = await stream.next_event()
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            self._receiver.close_stream(request.request_id)
            if not watcher.done():
                response.cancel()
                watcher.cancel()

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


async def _watch(response: Any, stream: TokenStream) -> None:
    """End the stream when the call ends before it: with the call's error or refusal, or for its missing tokens."""
    try:
        outcome: GenerationOutcome | Refusal = await response
    except (RayError, RayServeException, Llama4CoderError) as error:
        stream.fail(original_error(error))
        return
    if isinstance(outcome, Refusal):
        stream.fail(outcome.error)
        return
    await asyncio.sleep(_LAST_TOKENS_TIMEOUT_S)
    stream.fail(StreamLost(f"not all of {outcome.num_output_tokens} tokens arrived"))
