"""A `GenerationBackend` that plays a script: what an engine would do, without one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

from llama4coder.errors import Unavailable
from llama4coder.types import FinishReason, GenerateRequest, PositionLogprobs, TokenEvent, TokenLogprob


@dataclass(frozen=True, slots=True)
class Script:
    """How one sequence goes. Times are of the event before which they pass."""

    token_ids: Sequence[int] = (10, 11, 12)
    finish_reason: FinishReason | None = FinishReason.STOP  # None: the stream just ends, against the contract
    refusal: Exception | None = None  # raised before any event
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    tokens_per_event: int = 1
    death: Exception | None = None  # raised after `death_after` tokens
    death_after: int = 0
    num_cached_tokens: int = 0
    queue_time_s: float = 0.0
    offset_gap: int = 0  # tokens that get lost before the second event
    num_rejected: int = 0  # guesses in each event that were wrong; of its tokens all but the last were guessed then


class FakeBackend:
    """Plays `script` for every request, or what `choose` says for it; ends at the request's own conditions, too.

    `requests` are all that came, `running` those that have neither ended nor been closed, `aborted` those that were
    closed before their end.
    """

    def __init__(self, script: Script | None = None, choose: Callable[[GenerateRequest], Script] | None = None) -> None:
        self.script = script or Script()
        self.choose = choose
        self.requests: list[GenerateRequest] = []
        self.running: set[str] = set()
        self.aborted: list[str] = []
        self.dead: Unavailable | None = None  # set it, and everything that runs or comes fails with it
        self.probe_delay_s = 0.0
        self.metrics_text = b"# HELP fake_total A fake.\n# TYPE fake_total counter\nfake_total 1.0\n"

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """See `GenerationBackend.generate`."""
        script = self.script if self.choose is None else self.choose(request)
        self._check_alive()
        self.requests.append(request)
        if script.refusal is not None:
            raise script.refusal
        self.running.add(request.request_id)
        ended = False
        try:
            for index, event in enumerate(_events(request, script)):
                await asyncio.sleep(script.delay_s if index else script.first_delay_s)
                self._check_alive()
                if script.death is not None and event.offset >= script.death_after:
                    raise script.death
                ended = event.finish_reason is not None
                yield event
            ended = True
        except Exception:
            ended = True
            raise
        finally:
            self.running.discard(request.request_id)
            if not ended:
                self.aborted.append(request.request_id)

    async def probe(self, timeout_s: float) -> None:
        """See `GenerationBackend.probe`."""
        await asyncio.sleep(self.probe_delay_s)
        self._check_alive()

    async def metrics(self) -> bytes:
        """See `GenerationBackend.metrics`."""
        return self.metrics_text

    def _check_alive(self) -> None:
        if self.dead is not None:
            raise self.dead

    async def until_idle(self, timeout_s: float = 2.0) -> None:
        """Wait until nothing runs; `TimeoutError` if something stays."""
        async with asyncio.timeout(timeout_s):
            while self.running:
                await asyncio.sleep(0.001)


def _events(request: GenerateRequest, script: Script) -> list[TokenEvent]:
    token_ids = tuple(script.token_ids)[: request.stop.max_tokens]
    reason = script.finish_reason
    if reason is FinishReason.STOP and len(token_ids) == request.stop.max_tokens:
        reason = FinishReason.LENGTH
    events = [
        TokenEvent(
            request.request_id,
            offset=start,
            token_ids=(part := token_ids[start : start + script.tokens_per_event]),
            logprobs=tuple(_logprobs(token_id, request.sampling.num_logprobs) for token_id in part)
            if request.sampling.num_logprobs is not None
            else (),
            num_accepted=len(part) - 1 if script.num_rejected else 0,
            num_rejected=script.num_rejected,
        )
        for start in range(0, len(token_ids), script.tokens_per_event)
    ] or [TokenEvent(request.request_id, offset=0)]
    events[0] = replace(
        events[0],
        num_cached_tokens=script.num_cached_tokens,
        queue_time_s=script.queue_time_s,
        prompt_logprobs=_prompt_logprobs(request),
    )
    events[1:] = [replace(event, offset=event.offset + script.offset_gap) for event in events[1:]]
    events[-1] = replace(events[-1], finish_reason=reason)
    return events


def _logprobs(token_id: int, num_top: int | None) -> PositionLogprobs:
    top = tuple(TokenLogprob((token_id + rank) % 300, -0.5 - rank) for rank in range(num_top or 0))
    return PositionLogprobs(TokenLogprob(token_id, -0.5), top)


def _prompt_logprobs(request: GenerateRequest) -> tuple[PositionLogprobs | None, ...]:
    if request.sampling.num_prompt_logprobs is None:
        return ()
    rest = (_logprobs(token_id, request.sampling.num_prompt_logprobs) for token_id in request.prompt_token_ids[1:])
    return (None, *rest)
