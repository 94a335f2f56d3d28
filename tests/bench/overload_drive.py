"""Clients that keep asking: each has one request under way, comes back when it was told to, and gives up in the end."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.overload_client import Address, try_once
from tests.bench.overload_deck import Ask
from tests.bench.overload_outcome import Kind, Outcome, classify

_AFTER_VIOLATION_S = 1.0  # a server that is gone would be asked a thousand times a second


@dataclass(frozen=True, slots=True)
class Limits:
    """When a client loses patience."""

    answer_timeout_s: float  # of one try
    max_tries: int
    max_wait_s: float  # between two tries, whatever the server asks for


@dataclass(frozen=True, slots=True)
class Record:
    """One request from its first try to its last; times are those of the last, on the monotonic clock."""

    outcome: Outcome
    num_tries: int
    num_prompt_tokens: int
    sent_s: float
    ended_s: float
    first_token_s: float  # that of an answer in one piece is its end

    @property
    def wait_s(self) -> float:
        """Time to first token."""
        return self.first_token_s - self.sent_s


class Drive:
    """A changing number of clients; keeps a record of each request and counts refusals, the retried ones as well."""

    def __init__(self, address: Address, deck: Iterator[Ask], limits: Limits) -> None:
        self.records: list[Record] = []
        self.refusals: Counter[str] = Counter()
        self._address = address
        self._deck = deck
        self._limits = limits
        self._stopping = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    def grow(self, num_clients: int) -> None:
        """Let new clients join the others."""
        self._clients += [asyncio.create_task(self._client()) for _ in range(num_clients - len(self._clients))]

    def check(self) -> None:
        """Raise what a client died of: a mistake of the bench."""
        for client in self._clients:
            if client.done() and (error := client.exception()) is not None:
                raise error

    async def stop(self) -> None:
        """Ask nothing more, and wait for what is under way; `answer_timeout_s` bounds it."""
        self._stopping.set()
        await asyncio.gather(*self._clients)

    async def _client(self) -> None:
        while not self._stopping.is_set():
            record = await self._ask(next(self._deck))
            self.records.append(record)
            if record.outcome.kind is Kind.VIOLATION:
                await self._pause(_AFTER_VIOLATION_S)

    async def _ask(self, ask: Ask) -> Record:
        """Try until it is answered, refused for good, or not worth another try."""
        num_tries = 0
        while True:
            num_tries += 1
            reply = await try_once(self._address, ask, self._limits.answer_timeout_s)
            outcome = classify(ask, reply)
            if outcome.kind is Kind.REFUSED:
                self.refusals[outcome.reason] += 1
            if outcome.retry_after_s is not None:
                await self._pause(min(outcome.retry_after_s, self._limits.max_wait_s))
            if outcome.retry_after_s is None or num_tries == self._limits.max_tries or self._stopping.is_set():
                first_s = reply.first_event_s or reply.ended_s
                return Record(outcome, num_tries, ask.num_prompt_tokens, reply.sent_s, reply.ended_s, first_s)

    async def _pause(self, duration_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), duration_s)
