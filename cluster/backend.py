"""The cluster as a `GenerationBackend`: requests by handle call, tokens by token channel."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.channel.token_receiver import TokenReceiver, TokenStream
from cluster.errors import Moved, original_error
from cluster.generation import GenerationOutcome, Refusal
from cluster.metrics_hub import MetricsPusher
from cluster.routing import Destination, Routing
from llama4coder.errors import (
    DeadlineExceeded,
    EngineDead,
    Llama4CoderError,
    NotBegun,
    Overloaded,
    StreamLost,
    Unavailable,
)
from llama4coder.obs.declared.drain import MigrationOutcome
from llama4coder.router.continuation import Continuation
from llama4coder.types import Fingerprint, GenerateRequest, TokenEvent

_LAST_TOKENS_TIMEOUT_S = 5.0  # the outcome and the last frame take different roads
_PROBE_MARGIN_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What becomes of requests that lose their replica."""

    timeout_s: float
    on_recovered: Callable[[], object]  # called when one has gone on
    on_migrated: Callable[[MigrationOutcome], object] = lambda outcome: None  # of one that was handed over


@dataclass(slots=True)
class _Course:
    """One request on its way."""

    continuation: Continuation
    avoid: str | None = None  # the replica that has just lost or refused it
    begun_with: Fingerprint | None = None
    is_moving: bool = False  # handed over, and not yet gone on


class ClusterBackend:
    """Implements `llama4coder.backend.GenerationBackend` over the target deployment; for one event loop.

    A request whose replica is lost goes on at another, or at the same one when it has been started anew. One that a
    replica refuses for its full queue is offered once to another that should have room.
    """

    def __init__(
        self,
        target: DeploymentHandle[Any],
        receiver: TokenReceiver,
        pusher: MetricsPusher,
        routing: Routing,
        recovery: Recovery,
    ) -> None:
        self._target = target
        self._receiver = receiver
        self._pusher = pusher
        self._routing = routing
        self._recovery = recovery

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        course = _Course(Continuation(request, self._recovery.timeout_s))
        try:
            async with aclosing(self._follow(course)) as events:
                async for event in events:
                    yield event
        except Llama4CoderError:
            if course.is_moving:
                self._recovery.on_migrated(MigrationOutcome.FAILED)
            raise

    async def _follow(self, course: _Course) -> AsyncGenerator[TokenEvent, None]:
        """What one replica after the other gives, until one has given the last event."""
        continuation = course.continuation
        while True:
            attempt = continuation.next_request()
            avoid = frozenset({course.avoid} if course.avoid else ())
            destination = self._routing.choose(attempt, avoid, course.begun_with)
            replica = destination.replica
            try:
                async with aclosing(self._attempt(course, attempt, destination)) as events:
                    async for event in events:
                        yield event
                return
            except Overloaded as error:
                may_detour = self._may_go_elsewhere(continuation, attempt, replica)
                pause_s = 0.0 if may_detour else continuation.pause_after(error, time.monotonic())
            except Unavailable as error:
                course.is_moving = course.is_moving or isinstance(error, Moved)
                pause_s = continuation.pause_after(error, time.monotonic())
                _log.warning("a request lost its replica and goes on elsewhere: %s", type(error).__name__)
                if replica is not None:
                    self._routing.lost(replica)
            finally:
                self._routing.ended(attempt.request_id)
            course.avoid = replica
            await asyncio.sleep(pause_s)

    def _may_go_elsewhere(self, continuation: Continuation, refused: GenerateRequest, replica: str | None) -> bool:
        """Once, and only if another replica should have room: what all refuse, the client shall know soon."""
        if replica is None or not self._routing.has_room_beside(replica, refused):
            return False
        return continuation.take_detour()

    async def _attempt(
        self, course: _Course, request: GenerateRequest, destination: Destination
    ) -> AsyncGenerator[TokenEvent, None]:
        """What one replica gives, to the last event unless it fails."""
        stream = self._receiver.open(request.request_id, len(request.output_token_ids))
        response = self._call(request, destination)
        watcher = asyncio.create_task(_watch(response, stream, self._recovery.timeout_s))
        is_first = True
        try:
            while True:
                event = await self._next_event(stream, course)
                if is_first:
                    self._routing.begun(event)
                    course.begun_with = destination.fingerprint
                    is_first = False
                yield course.continuation.take(event, time.monotonic())
                if event.finish_reason is not None:
                    return
        finally:
            self._receiver.close_stream(request.request_id)
            if not watcher.done():
                response.cancel()
                watcher.cancel()

    def _call(self, request: GenerateRequest, destination: Destination) -> Any:
        """Outside of the HTTP request's context: its calls would share the id by which Serve's router finds them."""
        where = {"wanted": destination.fingerprint, "replica": destination.replica}
        return Context().run(partial(self._target.generate.remote, request, self._receiver.endpoint, **where))

    async def _next_event(self, stream: TokenStream, course: _Course) -> TokenEvent:
        continuation = course.continuation
        if continuation.deadline_s is None:
            return await stream.next_event()
        try:
            async with asyncio.timeout(continuation.deadline_s - time.monotonic()):
                event = await stream.next_event()
        except TimeoutError:
            raise continuation.expired() from None
        if course.is_moving:
            self._recovery.on_migrated(MigrationOutcome.CONTINUED)
            course.is_moving = False
        else:
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

    A call that no replica takes within `patience_s` ends, too. Serve does not tell: where it calls by gRPC, it hears
    that a replica has accepted a call no sooner than the call's answer.
    """
    try:
        async with asyncio.timeout(patience_s) as patience:
            taking = asyncio.create_task(_wait_on_once_taken(stream, patience))
            try:
                outcome: GenerationOutcome | Refusal = await response
            finally:
                taking.cancel()
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


async def _wait_on_once_taken(stream: TokenStream, patience: asyncio.Timeout) -> None:
    await stream.taken.wait()
    patience.reschedule(None)
