"""Chooses the next token of each row: adjust the logits, find what may be chosen, draw (design section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from llama4coder.sampling.adjust import TokenCounts, add_bias, forbid
from llama4coder.sampling.draw import DrawRow, TokenDraw
from llama4coder.sampling.filters import FilterRow, TokenFilter
from llama4coder.sampling.noise import NoiseKey
from llama4coder.types import SamplingParams


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """One row's share of the sampler's input; `position` is the index of the token to choose in its sequence."""

    params: SamplingParams
    seed: int
    position: int
    counts: TokenCounts | None = None
    forbidden: Sequence[int] = ()

    @property
    def is_adjusted(self) -> bool:
        return bool(self.counts is not None or self.params.logit_bias or self.forbidden)

    def draw_row(self) -> DrawRow:
        return DrawRow(NoiseKey(self.seed, self.position), self.params.temperature)

    def filter_row(self) -> FilterRow:
        """Nothing is filtered where only the largest can be chosen."""
        params = self.params
        if self.draw_row().is_greedy:
            return FilterRow(params.temperature)
        return FilterRow(params.temperature, params.top_k, params.top_p, params.min_p)


@dataclass(frozen=True, slots=True)
class Sampler:
    """Everything between logits and token ids; `filter` and `draw` are the parts that differ between devices."""

    filter: TokenFilter
    draw: TokenDraw

    def __call__(self, logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
        """Token ids `[num_rows]` for `logits` `[num_rows, vocab_size]` (float32, not changed), on their device."""
        if any(row.is_adjusted for row in rows):
            logits = _adjusted(logits, rows)
        filter_rows = [row.filter_row() for row in rows]
        lowest = None if all(row.is_off for row in filter_rows) else self.filter(logits, filter_rows)
        return self.draw(logits, [row.draw_row() for row in rows], lowest)


def _adjusted(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    logits = logits.clone()
    for row_logits, row in zip(logits, rows, strict=True):
        if row.counts is not None:
            row.counts.penalise(row_logits, row.params)
        add_bias(row_logits, row.params)
        forbid(row_logits, row.forbidden)
    return logits
