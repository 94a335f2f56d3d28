"""What a target and a drafter tell each other: committed tokens one way, guesses for every likely outcome the other.

The target verifies; meanwhile the drafter guesses how that will end and what comes then. A guess is a `Chain` that is
anchored at its place in the sequence, so that whoever holds it can tell by the tokens alone whether it still applies:

    committed   ... t5 t6 | t7 t8          the target has just committed t7 and t8
    chain at 7            | t7 t8 d9 d10   it agrees so far: d9 d10 are the next draft
    chain at 7            | t7 x8 ...      it does not: useless, and harmless

Messages may be lost, late, repeated or out of order: each says where it begins, and none changes what was committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llama4coder.types import SamplingParams


@dataclass(frozen=True, slots=True, repr=False)
class Opening:
    """A sequence as a drafter first hears of it, from token `start` on: long ones are cut at their beginning."""

    session: str  # unique among all targets
    start: int
    token_ids: tuple[int, ...]
    sampling: SamplingParams
    seed: int


@dataclass(frozen=True, slots=True, repr=False)
class Advance:
    """Committed tokens of a session from token `start` on; those that the drafter knows already may be among them."""

    session: str
    start: int
    token_ids: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.start + len(self.token_ids)


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """A guess of tokens `start`, `start + 1`, ... of a session."""

    start: int
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a drafter expects of a session after its first `num_tokens` tokens; the first chain is the likeliest."""

    session: str
    num_tokens: int
    chains: tuple[Chain, ...]


class Drafter(Protocol):
    """Keeps sessions and guesses ahead of them; for one thread.

    - `open` replaces a session of the same name. `advance` returns False if it cannot follow (the session is unknown,
      or tokens are missing before `start`): then it wants an `Opening`. What is known already is ignored.
    - `forecast` does one round of drafting for sessions that have news, all in one batch, and returns what they got; an
      empty list means that there is nothing to do. A session whose prompt takes several rounds to compute gets a
      forecast without chains meanwhile; one for which there is no memory gets nothing.
    - `close` forgets a session; unknown ones are ignored.
    """

    def open(self, opening: Opening) -> None: ...

    def advance(self, news: Advance) -> bool: ...

    def close(self, session: str) -> None: ...

    def forecast(self) -> Sequence[Forecast]: ...
