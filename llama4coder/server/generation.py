"""Runs the sequences of one request against the backend and gives their text, chunk by chunk or whole."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from llama4coder.backend import GenerationBackend
from llama4coder.errors import ConstraintTooComplex, StreamLost, Unavailable
from llama4coder.faults import log_fault
from llama4coder.obs.requests import GenerationRecord
from llama4coder.server.bounds import BoundedStream, TextBounds
from llama4coder.server.disconnect import cancel_all
from llama4coder.server.reply.reply import ReplyFormat
from llama4coder.tokenizer.stream import TextStream
from llama4coder.tokenizer.tokenizer import Tokenizer
from llama4coder.types import FinishReason, GenerateRequest, PositionLogprobs, TokenEvent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class TextOptions:
    """How tokens become text, and which text ends a sequence."""

    stop: tuple[str, ...] = ()
    include_stop: bool = False
    skip_special: bool = True
    silent_ends: frozenset[int] = frozenset()  # tokens that end a sequence and are no part of its text
    bounds: TextBounds | None = None
    reply: ReplyFormat | None = None  # None: all of the text is content

    @property
    def shown_specials(self) -> frozenset[int] | None:
        """Special tokens whose text is kept; None: all."""
        if not self.skip_special:
            return None
        return frozenset() if self.reply is None else self.reply.shown_ids


@dataclass(frozen=True, slots=True, repr=False)
class Prompt:
    """One prompt; `text` is None where the client gave token ids, `param` the field that it came in."""

    token_ids: tuple[int, ...]
    text: str | None
    param: str
    was_cut: bool = False  # what surrounds a hole did not fit whole


@dataclass(frozen=True, slots=True)
class Job:
    """All sequences of one HTTP request: `num_choices` per prompt, prompt by prompt."""

    prompts: tuple[Prompt, ...]
    requests: tuple[GenerateRequest, ...]
    num_choices: int
    text: TextOptions

    def prompt_of(self, index: int) -> Prompt:
        """The prompt that choice `index` continues."""
        return self.prompts[index // self.num_choices]


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """What one event added to one choice; `text` may lag behind the tokens, which may end inside a character."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_logprobs: tuple[PositionLogprobs | None, ...] = ()  # on a choice's first chunk
    finish_reason: FinishReason | None = None  # STOP or LENGTH, on a choice's last chunk
    num_cached_tokens: int = 0  # on a choice's first chunk
    num_accepted: int = 0  # guesses among the tokens
    num_rejected: int = 0  # guesses that were wrong, or came after the end
    stop_string: str | None = None  # that ended the choice, on its last chunk
    queue_time_s: float = 0.0  # on a choice's first chunk


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and times of one HTTP request; each prompt counts once, whatever the number of its choices."""

    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    num_accepted_tokens: int  # output tokens that had been guessed
    num_rejected_tokens: int  # guesses that are not among them
    prompt_time_s: float = 0.0  # until the first chunk, waiting for admission included
    output_time_s: float = 0.0  # from there to the last


class Generation:
    """A job while it runs: an async context manager that leaves nothing running.

    Leaving it before the end aborts every sequence that has not ended.
    """

    def __init__(self, backend: GenerationBackend, tokenizer: Tokenizer, job: Job) -> None:
        self.job = job
        self._backend = backend
        self._tokenizer = tokenizer
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._num_running = len(job.requests)
        self._arrived: list[Chunk] = []
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._num_output_tokens = 0
        self._num_cached_tokens = 0
        self._num_accepted_tokens = 0
        self._num_rejected_tokens = 0
        self._started_s = self._first_s = self._last_s = 0.0
        self._queue_time_s = 0.0  # of the sequence that came first
        self._finish_reasons: dict[int, FinishReason] = {}

    async def __aenter__(self) -> Self:
        self._started_s = time.perf_counter()
        self._tasks = tuple(asyncio.create_task(self._pump(index)) for index in range(len(self.job.requests)))
        for task in self._tasks:
            task.add_done_callback(self._note_failure)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.ended:
                await asyncio.wait(self._tasks)  # they only close their streams
                if self._failure is not None:  # the client has its answer, so this is for the log alone
                    log_fault(_log, "a request failed", self._failure)
        finally:
            await cancel_all(self._tasks)

    @property
    def ended(self) -> bool:
        """Whether every choice has finished and every chunk been taken."""
        return self._num_running == 0 and not self._arrived

    @property
    def usage(self) -> Usage:
        """Of what has arrived so far."""
        num_prompt_tokens = sum(len(prompt.token_ids) for prompt in self.job.prompts)
        return Usage(
            num_prompt_tokens,
            self._num_cached_tokens,
            self._num_output_tokens,
            self._num_accepted_tokens,
            self._num_rejected_tokens,
            max(0.0, self._first_s - self._started_s),
            self._last_s - self._first_s,
        )

    @property
    def record(self) -> GenerationRecord | None:
        """What may be told of it so far, once it has begun."""
        if not self._started_s:
            return None
        usage = self.usage
        return GenerationRecord(
            self._started_s,
            self._started_s + self._queue_time_s if self._first_s else None,
            self._first_s or None,
            self._last_s or None,
            len(self.job.requests),
            usage.num_prompt_tokens,
            usage.num_cached_tokens,
            usage.num_output_tokens,
            tuple(self._finish_reasons[index] for index in sorted(self._finish_reasons)),
            None if self._failure is None else type(self._failure).__name__,
        )

    async def next_chunks(self, timeout_s: float | None = None) -> list[Chunk]:
        """All that has arrived, waiting for something; empty after `timeout_s`.

        Raises whatever ended a choice before its time, once everything that arrived before has been taken.
        """
        if not self._arrived and self._failure is None:
            await self._wait(timeout_s)
        chunks, self._arrived = self._arrived, []
        if not chunks and self._failure is not None:
            raise self._failure
        return chunks

    async def _wait(self, timeout_s: float | None) -> None:
        """A bare future and timer: `asyncio.timeout` around an event costs several times as much, once per token."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _pump(self, index: int) -> None:
        stream = stream_choice(self._backend, self._tokenizer, self.job.requests[index], index, self.job.text)
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                self._count(chunk)
                if chunk.finish_reason is not None:
                    self._num_running -= 1
                    self._finish_reasons[index] = chunk.finish_reason
                self._arrived.append(chunk)
                self._wake()

    def _count(self, chunk: Chunk) -> None:
        self._last_s = time.perf_counter()
        if not self._first_s:
            self._first_s, self._queue_time_s = self._last_s, chunk.queue_time_s
        self._num_output_tokens += len(chunk.token_ids)
        self._num_accepted_tokens += chunk.num_accepted
        self._num_rejected_tokens += chunk.num_rejected
        if chunk.index % self.job.num_choices == 0:
            self._num_cached_tokens += chunk.num_cached_tokens

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = Unavailable("the request was cancelled by the server") if task.cancelled() else task.exception()
        if error is not None and self._failure is None:
            self._failure = error
            self._wake()


async def stream_choice(
    backend: GenerationBackend, tokenizer: Tokenizer, request: GenerateRequest, index: int, options: TextOptions
) -> AsyncGenerator[Chunk, None]:
    """One sequence's chunks; the last one, and only it, has a finish reason. A stop string or bound aborts it."""
    text = TextStream(
        tokenizer,
        options.stop,
        include_stop=options.include_stop,
        min_tokens=request.stop.min_tokens,
        shown_specials=options.shown_specials,
    )
    bounded = None if options.bounds is None else BoundedStream(options.bounds)
    num_tokens = 0
    async with aclosing(backend.generate(request)) as events:
        async for event in events:
            if event.offset != num_tokens:
                raise StreamLost("tokens were lost on the way; please try again")
            num_tokens += len(event.token_ids)
            chunk = _to_chunk(event, index, text, options.silent_ends)
            if bounded is not None:
                chunk = _within(bounded, chunk)
            yield chunk
            if chunk.finish_reason is not None:
                return
    raise StreamLost("the stream ended without a reason; please try again")


def _to_chunk(event: TokenEvent, index: int, text: TextStream, silent_ends: frozenset[int]) -> Chunk:
    if event.finish_reason is FinishReason.CONSTRAINT:
        raise ConstraintTooComplex(
            "the output could not be held to its format any further: matching it has become too complex; simplify the "
            "schema, the pattern or the grammar"
        )
    if event.finish_reason in (FinishReason.ABORT, FinishReason.ERROR):
        raise Unavailable("the request was ended by the server; please try again")
    ends_silently = event.finish_reason is FinishReason.STOP and not silent_ends.isdisjoint(event.token_ids[-1:])
    delta = text.push(event.token_ids[:-1] if ends_silently else event.token_ids)
    num_tokens = delta.num_tokens if delta.stopped else len(event.token_ids)
    finish_reason = FinishReason.STOP if delta.stopped else event.finish_reason
    num_accepted = min(event.num_accepted, num_tokens)  # a stop string may end the answer among them
    return Chunk(
        index=index,
        text=delta.text + (text.finish() if finish_reason is not None else ""),
        token_ids=event.token_ids[:num_tokens],
        logprobs=event.logprobs[:num_tokens],
        prompt_logprobs=event.prompt_logprobs,
        finish_reason=finish_reason,
        num_cached_tokens=event.num_cached_tokens,
        num_accepted=num_accepted,
        num_rejected=event.num_rejected + event.num_accepted - num_accepted,
        stop_string=text.stop_string,
        queue_time_s=event.queue_time_s,
    )


def _within(bounded: BoundedStream, chunk: Chunk) -> Chunk:
    kept = bounded.push(chunk.text, is_last=chunk.finish_reason is not None)
    ending = FinishReason.LENGTH if kept.ended else None
    return replace(chunk, text=kept.text, finish_reason=chunk.finish_reason or ending)


async def collect(generation: Generation) -> list[Chunk]:
    """Run to the end; every choice as one chunk, in order. Raises what `next_chunks` raises."""
    chunks: list[Chunk] = []
    async with generation:
        while not generation.ended:
            chunks += await generation.next_chunks()
    return sorted(coalesce(chunks), key=lambda chunk: chunk.index)


def coalesce(chunks: Sequence[Chunk]) -> list[Chunk]:
    """One chunk per choice, with all that its chunks hold; they must be in the order of their arrival."""
    by_index: dict[int, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        by_index[chunk.index].append(chunk)
    return [_join(of_one) if len(of_one) > 1 else of_one[0] for of_one in by_index.values()]


def _join(chunks: list[Chunk]) -> Chunk:
    return Chunk(
        index=chunks[0].index,
        text="".join(chunk.text for chunk in chunks),
        token_ids=_concatenate(chunk.token_ids for chunk in chunks),
        logprobs=tuple(position for chunk in chunks for position in chunk.logprobs),
        prompt_logprobs=chunks[0].prompt_logprobs,
        finish_reason=chunks[-1].finish_reason,
        num_cached_tokens=chunks[0].num_cached_tokens,
        num_accepted=sum(chunk.num_accepted for chunk in chunks),
        num_rejected=sum(chunk.num_rejected for chunk in chunks),
        stop_string=chunks[-1].stop_string,
        queue_time_s=chunks[0].queue_time_s,
    )


def _concatenate(parts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(token_id for part in parts for token_id in part)
