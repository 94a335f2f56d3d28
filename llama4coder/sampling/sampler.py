"""Chooses the next token of each row: adjust the logits, find what may be chosen, draw (design section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.step_sizing import FILTERED_ROWS
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.sampling.adjust import TokenCounts, add_bias, forbid
from llama4coder.sampling.draw import DrawRow, TokenDraw
from llama4coder.sampling.filters import FilterRow, TokenFilter
from llama4coder.sampling.masks import TokenMasks
from llama4coder.sampling.noise import NoiseKey
from llama4coder.types import SamplingParams


@dataclass(frozen=True, slots=True, repr=False)
class SamplingRow:
    """One row's share of the sampler's input; `position` is the index of the token to choose in its sequence."""

    params: SamplingParams
    seed: int
    position: int
    counts: TokenCounts | None = None
    forbidden: Sequence[int] = ()
    assumed: Sequence[int] = ()  # guesses after the tokens that are counted

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
    """Everything between logits and token ids; `filter` and `draw` are the parts that differ between devices.

    Where ranks divide the vocabulary, each draws the best of its own tokens, and only these meet; rows with top-k,
    top-p or min-p are the ones whose logits are gathered, for their thresholds.
    """

    filter: TokenFilter
    draw: TokenDraw
    vocabulary: ShardedVocabulary

    def __call__(self, logits: Tensor, rows: Sequence[SamplingRow], masks: TokenMasks | None = None) -> Tensor:
        """Token ids `[num_rows]`, the same on every rank, for this rank's `logits` (float32, not changed)."""
        share = self.vocabulary.share
        if any(row.is_adjusted for row in rows):
            logits = _adjusted(logits, rows, share)
        if masks is not None:
            logits = masks.applied(logits, share)
        lowest = self._lowest(logits, [row.filter_row() for row in rows])
        drawn = self.draw(logits, [row.draw_row() for row in rows], lowest, share.start)
        return self.vocabulary.best(drawn.token_ids, drawn.values)

    def _lowest(self, logits: Tensor, rows: Sequence[FilterRow]) -> Tensor | None:
        """In parts, so that what is needed beside the logits does not grow with the rows."""
        on = [index for index, row in enumerate(rows) if not row.is_off]
        if not on:
            return None
        lowest = torch.full((len(rows),), -torch.inf, device=logits.device)
        for first in range(0, len(on), FILTERED_ROWS):
            part = on[first : first + FILTERED_ROWS]
            is_run = part[-1] - part[0] == len(part) - 1
            chosen = slice(part[0], part[-1] + 1) if is_run else torch.tensor(part, device=logits.device)
            lowest[chosen] = self.filter(self.vocabulary.whole(logits[chosen]), [rows[index] for index in part])
        return lowest


def _adjusted(logits: Tensor, rows: Sequence[SamplingRow], share: slice) -> Tensor:
    logits = logits.clone()
    for row_logits, row in zip(logits, rows, strict=True):
        if row.counts is not None:
            counts = row.counts.plus(row.assumed) if row.assumed else row.counts
            counts.penalise(row_logits, row.params, share)
        add_bias(row_logits, row.params, share)
        forbid(row_logits, row.forbidden, share)
    return logits
