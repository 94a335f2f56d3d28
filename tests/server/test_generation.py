"""Generation by itself: order, ends, and what is left behind."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from llama4coder.errors import EngineDead
from llama4coder.server.generation import Generation, Job, Prompt, TextOptions, collect
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import GenerateRequest, SamplingParams, StopConditions, TokenEvent
from tests.support.fake_backend import FakeBackend, Script


def _job(num_prompts: int = 1, num_choices: int = 1, stop: tuple[str, ...] = ()) -> Job:
    requests = tuple(
        GenerateRequest(f"r-{index}", (3, 4), SamplingParams(), StopConditions(50), seed=index)
        for index in range(num_prompts * num_choices)
    )
    return Job((Prompt((3, 4), "x", "prompt"),) * num_prompts, requests, num_choices, TextOptions(stop))


class BadlyClosing(FakeBackend):
    """Fails only after everything has been said."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        try:
            async for event in super().generate(request):
                yield event
        finally:
            raise RuntimeError("secret")


async def test_usage_counts_each_prompt_once_and_all_output(tokenizer: Tokenizer) -> None:
    generation = Generation(FakeBackend(Script([10, 11, 12], num_cached_tokens=2)), tokenizer, _job(2, 3))
    chunks = await collect(generation)
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4, 5]
    usage = generation.usage
    assert (usage.num_prompt_tokens, usage.num_cached_tokens, usage.num_output_tokens) == (4, 4, 18)


async def test_waiting_ends_with_nothing_after_the_timeout(tokenizer: Tokenizer) -> None:
    backend = FakeBackend(Script(first_delay_s=30))
    async with Generation(backend, tokenizer, _job()) as generation:
        assert await generation.next_chunks(0.01) == []
        assert not generation.ended
    assert backend.aborted == ["r-0"]


async def test_what_arrived_comes_before_the_failure(tokenizer: Tokenizer) -> None:
    backend = FakeBackend(Script([10, 11, 12], death=EngineDead("failed"), death_after=2))
    async with Generation(backend, tokenizer, _job()) as generation:
        await asyncio.sleep(0.02)
        assert len(await generation.next_chunks()) == 2
        with pytest.raises(EngineDead):
            await generation.next_chunks()


async def test_leaving_early_aborts_every_choice(tokenizer: Tokenizer) -> None:
    backend = FakeBackend(Script([10] * 50, delay_s=0.01))
    async with Generation(backend, tokenizer, _job(1, 4)) as generation:
        await generation.next_chunks()
    assert sorted(backend.aborted) == ["r-0", "r-1", "r-2", "r-3"]
    assert backend.running == set()


async def test_cancelling_the_reader_aborts_every_choice(tokenizer: Tokenizer) -> None:
    backend = FakeBackend(Script([10] * 50, delay_s=0.01))
    reading = asyncio.create_task(collect(Generation(backend, tokenizer, _job(1, 3))))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(backend.aborted) == 3


async def test_a_stop_string_aborts_the_sequence_at_once(tokenizer: Tokenizer) -> None:
    backend = FakeBackend(Script([*tokenizer.encode("def add(", add_bos=False), *[10] * 40], delay_s=0.001))
    (chunk,) = await collect(Generation(backend, tokenizer, _job(stop=("(",))))
    assert chunk.text == "def add"
    assert backend.aborted == ["r-0"]


async def test_a_failure_while_closing_does_not_spoil_the_answer(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    (chunk,) = await collect(Generation(BadlyClosing(Script([10])), tokenizer, _job()))
    assert chunk.token_ids == (10,)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text
