"""Which batches have a CUDA graph: plain data, so that scheduler and draft-length policy can know the staircase."""

from collections.abc import Sequence
from dataclasses import dataclass

_SMALL = (1, 2, 4)
_STEP = 8
_MAX_TOKENS = 1024  # larger batches compute for longer than their kernels take to launch


@dataclass(frozen=True, slots=True, order=True)
class GraphSize:
    """A batch of `num_rows` sequences with `tokens_per_row` new tokens each."""

    num_rows: int
    tokens_per_row: int

    @property
    def num_tokens(self) -> int:
        return self.num_rows * self.tokens_per_row


@dataclass(frozen=True, slots=True)
class GraphSizes:
    """The staircase of batch sizes, for each number of tokens per row: 1 for decoding, k + 1 to verify k guesses."""

    num_rows: tuple[int, ...]  # ascending
    tokens_per_row: tuple[int, ...]

    @classmethod
    def up_to(cls, max_rows: int, tokens_per_row: Sequence[int] = (1,)) -> "GraphSizes":
        """1, 2, 4, then multiples of 8, and `max_rows` itself."""
        stairs = {*_SMALL, *range(_STEP, max_rows, _STEP), max_rows}
        return cls(tuple(sorted(size for size in stairs if size <= max_rows)), tuple(sorted(set(tokens_per_row))))

    @classmethod
    def to_verify(cls, max_rows: int, max_draft_tokens: int) -> "GraphSizes":
        """For decoding, and for rows with up to so many guesses: 1, 2, 4, ... tokens, and all of them."""
        longest = 1 + max_draft_tokens
        return cls.up_to(max_rows, [*(2**power for power in range(longest.bit_length())), longest])

    def all(self) -> tuple[GraphSize, ...]:
        """Largest first: what they need in passing is then allocated once."""
        sizes = (GraphSize(rows, tokens) for rows in self.num_rows for tokens in self.tokens_per_row)
        return tuple(sorted((size for size in sizes if size.num_tokens <= _MAX_TOKENS), key=_by_tokens, reverse=True))

    def padded(self, num_rows: int, tokens_per_row: int = 1) -> GraphSize | None:
        """The smallest graph that computes rows of up to so many tokens; None where there is none: they run eagerly."""
        rows = next((size for size in self.num_rows if size >= num_rows), None)
        tokens = next((size for size in self.tokens_per_row if size >= tokens_per_row), None)
        if rows is None or tokens is None or rows * tokens > _MAX_TOKENS:
            return None
        return GraphSize(rows, tokens)


def _by_tokens(size: GraphSize) -> tuple[int, int]:
    return size.num_tokens, size.num_rows
