"""What every `GenerationBackend` must do, whatever generates."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llama4coder.backend import GenerationBackend
from llama4coder.errors import Llama4CoderError, Unavailable
from llama4coder.types import FinishReason, GenerateRequest, SamplingParams, StopConditions, TokenEvent

_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A backend, and what a test must know of what is underneath.

    It can run 8 sequences of 64 tokens; its vocabulary has 64 ids at least. `num_running` counts requests that hold
    anything; `impossible` is a request that is refused; `kill` makes the engine underneath fail.
    """

    backend: GenerationBackend
    num_running: Callable[[], int]
    impossible: GenerateRequest
    kill: Callable[[], Awaitable[None]]


def make_request(
    request_id: str, max_tokens: int = 6, *, num_logprobs: int | None = None, num_prompt_logprobs: int | None = None
) -> GenerateRequest:
    """A request that only its length ends."""
    sampling = SamplingParams(num_logprobs=num_logprobs, num_prompt_logprobs=num_prompt_logprobs)
    return GenerateRequest(request_id, (3, 4, 5, 6, 7), sampling, StopConditions(max_tokens), seed=11)


async def run(backend: GenerationBackend, request: GenerateRequest) -> list[TokenEvent]:
    """All events of a request."""
    async with asyncio.timeout(_TIMEOUT_S), aclosing(backend.generate(request)) as events:
        return [event async for event in events]


def tokens_of(events: Iterable[TokenEvent]) -> list[int]:
    """The output of a request."""
    return [token_id for event in events for token_id in event.token_ids]


async def until_idle(subject: Subject) -> None:
    """Wait until nothing is held; `TimeoutError` if something stays."""
    async with asyncio.timeout(_TIMEOUT_S):
        while subject.num_running():
            await asyncio.sleep(0.005)


class BackendContract:
    """Subclass it, and give a `subject` fixture that yields a `Subject`."""

    @pytest.fixture
    def subject(self) -> Iterator[Subject]:
        raise NotImplementedError

    async def test_events_are_in_order_and_only_the_last_has_a_reason(self, subject: Subject) -> None:
        events = await run(subject.backend, make_request("a"))
        offset = 0
        for event in events:
            assert event.request_id == "a"
            assert event.offset == offset
            offset += len(event.token_ids)
        assert offset == 6
        assert [event.finish_reason for event in events[:-1]] == [None] * (len(events) - 1)
        assert events[-1].finish_reason is FinishReason.LENGTH
        await until_idle(subject)

    async def test_one_token(self, subject: Subject) -> None:
        events = await run(subject.backend, make_request("a", max_tokens=1))
        assert len(tokens_of(events)) == 1

    async def test_logprobs_come_only_when_asked_for_one_per_token(self, subject: Subject) -> None:
        without = await run(subject.backend, make_request("a"))
        assert all(event.logprobs == () for event in without)
        events = await run(subject.backend, make_request("b", num_logprobs=2))
        for event in events:
            assert [position.chosen.token_id for position in event.logprobs] == list(event.token_ids)
            assert all(len(position.top) == 2 for position in event.logprobs)

    async def test_prompt_logprobs_are_on_the_first_event(self, subject: Subject) -> None:
        events = await run(subject.backend, make_request("a", num_prompt_logprobs=1))
        first = events[0].prompt_logprobs
        assert len(first) == 5
        assert first[0] is None
        assert [position.chosen.token_id for position in first[1:] if position is not None] == [4, 5, 6, 7]
        assert all(event.prompt_logprobs == () for event in events[1:])

    async def test_no_output_but_prompt_logprobs(self, subject: Subject) -> None:
        events = await run(subject.backend, make_request("a", max_tokens=0, num_prompt_logprobs=0))
        assert tokens_of(events) == []
        assert len(events[0].prompt_logprobs) == 5
        assert events[-1].finish_reason is FinishReason.LENGTH

    async def test_same_seed_same_tokens_alone_and_among_others(self, subject: Subject) -> None:
        alone = tokens_of(await run(subject.backend, make_request("alone", 16)))
        others = (replace(make_request(f"other-{seed}", 16), seed=seed) for seed in range(6))
        results = await asyncio.gather(
            *(run(subject.backend, request) for request in (*others, make_request("among", 16)))
        )
        assert tokens_of(results[-1]) == alone
        assert all(len(tokens_of(events)) == 16 for events in results)

    async def test_closing_aborts(self, subject: Subject) -> None:
        stream = subject.backend.generate(make_request("a", max_tokens=64))
        await anext(stream)
        await stream.aclose()
        await until_idle(subject)

    async def test_closing_before_the_first_event_is_asked_for_leaves_nothing(self, subject: Subject) -> None:
        stream = subject.backend.generate(make_request("a", max_tokens=64))
        await stream.aclose()
        await until_idle(subject)

    async def test_cancelling_the_reader_aborts(self, subject: Subject) -> None:
        arrived = asyncio.Event()

        async def read() -> None:
            async with aclosing(subject.backend.generate(make_request("a", max_tokens=64))) as events:
                async for _ in events:
                    arrived.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(arrived.wait(), _TIMEOUT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_idle(subject)

    async def test_refusals_come_before_any_event_and_harm_nobody(self, subject: Subject) -> None:
        with pytest.raises(Llama4CoderError):
            await anext(subject.backend.generate(subject.impossible))
        assert len(tokens_of(await run(subject.backend, make_request("b")))) == 6
        await until_idle(subject)

    async def test_probe_answers_while_others_generate(self, subject: Subject) -> None:
        async with aclosing(subject.backend.generate(make_request("a", max_tokens=64))) as events:
            await anext(events)
            await subject.backend.probe(_TIMEOUT_S)

    async def test_metrics_are_prometheus_text(self, subject: Subject) -> None:
        text = (await subject.backend.metrics()).decode()
        assert list(text_string_to_metric_families(text))

    async def test_a_failure_underneath_reaches_who_runs_who_comes_and_the_probe(self, subject: Subject) -> None:
        stream = subject.backend.generate(make_request("a", max_tokens=64))
        await anext(stream)
        await subject.kill()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(_TIMEOUT_S):
                async for event in stream:
                    assert event.finish_reason is None
        with pytest.raises(Unavailable):
            await run(subject.backend, make_request("b"))
        with pytest.raises(Unavailable):
            await subject.backend.probe(_TIMEOUT_S)
