"""The seams of speculation: what an engine asks for, what a proposer offers, and what became of it.

A guess counts only if it equals the target's own sample (design section 5), so nothing behind these seams can change a
token: being wrong, late or silent costs speed only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llama4coder.types import GenerateRequest


class DraftSource(StrEnum):
    """Who guessed."""

    NGRAM = "ngram"
    LOCAL = "local"
    POOL = "pool"


@dataclass(frozen=True, slots=True, repr=False)
class DraftQuery:
    """A sequence whose every token is known, and how many more may be guessed.

    `token_ids` are prompt and output; a view of the engine's own list, valid during the call.
    """

    request_id: str
    token_ids: Sequence[int]
    max_tokens: int  # at least 1


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """A guess of the tokens that follow a query's; never empty, never longer than asked for."""

    token_ids: tuple[int, ...]
    source: DraftSource


@dataclass(frozen=True, slots=True, repr=False)
class RowOutcome:
    """What one step added to one sequence: the first `num_accepted` of its guesses, and the target's own token."""

    request_id: str
    num_tokens_before: int  # prompt and output tokens that were known
    num_drafted: int
    num_accepted: int
    new_token_ids: tuple[int, ...]  # `num_accepted + 1`; fewer where the request ended
    has_ended: bool


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step took, for whoever weighs drafting more against stepping sooner."""

    num_rows: int
    num_tokens: int
    time_s: float
    guess_s: float = 0.0  # before it, in `Speculation.propose`


class Proposer(Protocol):
    """Guesses how sequences go on. One suite of tests runs on every implementation, and on broken ones.

    Called in the engine's thread, between two steps, so it must be quick: it never waits for another process.
    - `begin` comes once before a request's first query, `end` once after its last; for unknown ids `end` does nothing.
    - `propose` answers any part of the queries, by request; never raises.
    - `may_guess` tells at almost no cost whether a query about a request would be answered now, as far as it knows.
    - `observe` is told of every token that a request it was told of gets, in order, speculated or not.
    - `close` is idempotent and leaves no thread or socket behind.
    """

    def begin(self, request: GenerateRequest) -> None: ...

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, Draft]: ...

    def may_guess(self, request_id: str) -> bool: ...

    def observe(self, outcomes: Sequence[RowOutcome]) -> None: ...

    def end(self, request_id: str) -> None: ...

    def close(self) -> None: ...


class Speculation(Protocol):
    """What an engine knows of speculation: when to ask, and what for.

    A plan made while a step runs cannot hold guesses, since they depend on what the step samples. `wants` decides which
    it is to be: to plan ahead, or to wait for the outcome and guess.
    """

    def begin(self, request: GenerateRequest) -> None:
        """See `Proposer.begin`."""
        ...

    def wants(self, request_ids: Sequence[str]) -> bool:
        """Whether guesses for these, which run together, are likely to be worth waiting for the running step's end."""
        ...

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        """Guesses worth their time in a step of all these rows, by request; rows without one are left out."""
        ...

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        """Told of every committed step."""
        ...

    def end(self, request_id: str) -> None:
        """See `Proposer.end`."""
        ...

    def close(self) -> None:
        """See `Proposer.close`."""
        ...


class NoSpeculation:
    """Implements `Speculation`: plain decoding."""

    def begin(self, request: GenerateRequest) -> None:
        pass

    def wants(self, request_ids: Sequence[str]) -> bool:
        return False

    def propose(self, queries: Sequence[DraftQuery]) -> Mapping[str, tuple[int, ...]]:
        return {}

    def observe(self, outcomes: Sequence[RowOutcome], cost: StepCost) -> None:
        pass

    def end(self, request_id: str) -> None:
        pass

    def close(self) -> None:
        pass
