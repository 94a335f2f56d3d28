"""Requests before they are sent: what they ask for, as far as it matters to whoever serves them.

A prompt is a few parts, each of which repeats one token id: equal parts have equal tokens, hence equal block names,
and cost almost nothing to make.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from llama4coder.types import Priority

STOP_TOKEN = 1
_FIRST_TOKEN = 2
_STEP = 2  # the odd ids between are wrong guesses


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """So many tokens of one content."""

    token_id: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it reaches the endpoint."""

    number: int
    arrival_s: float
    prompt: tuple[Part, ...]
    output: Part  # its last token is a stop token instead
    kind: str = "trace"
    priority: Priority = Priority.INTERACTIVE

    @property
    def num_prompt_tokens(self) -> int:
        return sum(part.num_tokens for part in self.prompt)

    def prompt_token_ids(self) -> tuple[int, ...]:
        return tokens_of(self.prompt)


class Contents:
    """Gives every content a token id of its own."""

    def __init__(self) -> None:
        self._next_id = _FIRST_TOKEN

    def new(self, num_tokens: int) -> Part:
        """Content that nobody has had before."""
        self._next_id += _STEP
        return Part(self._next_id - _STEP, num_tokens)


def tokens_of(parts: Iterable[Part]) -> tuple[int, ...]:
    """All of their tokens."""
    token_ids: tuple[int, ...] = ()
    for part in parts:
        token_ids += (part.token_id,) * part.num_tokens
    return token_ids


def shorter(parts: Iterable[Part], num_tokens: int) -> tuple[Part, ...]:
    """The first so many tokens of them."""
    kept: list[Part] = []
    for part in parts:
        if num_tokens <= 0:
            break
        kept.append(part if part.num_tokens <= num_tokens else Part(part.token_id, num_tokens))
        num_tokens -= part.num_tokens
    return tuple(kept)
