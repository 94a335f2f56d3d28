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
    """The staircase of batch sizes, for each number of tokens per row: 1 for decoding, k + 1 to verify k drafts."""

    num_rows: tuple[int, ...]  # ascending
    tokens_per_row: tuple[int, ...]

    @classmethod
    def up_to(cls, max_rows: int, tokens_per_row: Sequence[int] = (1,)) -> "GraphSizes":
        """1, 2, 4, then multiples of 8, and `max_rows` itself."""
        stairs = {*_SMALL, *range(_STEP, max_rows, _STEP), max_rows}
        return cls(tuple(sorted(size for size in stairs if size <= max_rows)), tuple(sorted(set(tokens_per_row))))

    def all(self) -> tuple[GraphSize, ...]:
        """Largest first: what they need in passing is then allocated once."""
        sizes = (GraphSize(rows, tokens) for rows in self.num_rows for tokens in self.tokens_per_row)
        return tuple(sorted((size for size in sizes if size.num_tokens <= _MAX_TOKENS), key=_by_tokens, reverse=True))

    def padded(self, num_rows: int, tokens_per_row: int = 1) -> GraphSize | None:
        """The graph that computes such a batch; None where there is none, and it runs eagerly."""
        if tokens_per_row not in self.tokens_per_row:
            return None
        fitting = (rows for rows in self.num_rows if rows >= num_rows and rows * tokens_per_row <= _MAX_TOKENS)
        rows = next(fitting, None)
        return None if rows is None else GraphSize(rows, tokens_per_row)


def _by_tokens(size: GraphSize) -> tuple[int, int]:
    return size.num_tokens, size.num_rows
