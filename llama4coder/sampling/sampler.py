"""Chooses the next token of each row: adjust the logits, find what may be chosen, draw (design section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.sampling.adjust import TokenCounts, add_bias, forbid
from llama4coder.sampling.draw import DrawRow, TokenDraw
from llama4coder.sampling.filters import is_filtered, thresholds
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


@dataclass(frozen=True, slots=True)
class Sampler:
    """Everything between logits and token ids; `draw` is the part that differs between devices."""

    draw: TokenDraw

    def __call__(self, logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
        """Token ids `[num_rows]` for `logits` `[num_rows, vocab_size]` (float32, not changed), on their device."""
        if any(row.is_adjusted for row in rows):
            logits = _adjusted(logits, rows)
        draw_rows = [row.draw_row() for row in rows]
        return self.draw(logits, draw_rows, _lowest(logits, rows, draw_rows))


def _adjusted(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    logits = logits.clone()
    for row_logits, row in zip(logits, rows, strict=True):
        if row.counts is not None:
            row.counts.penalise(row_logits, row.params)
        add_bias(row_logits, row.params)
        forbid(row_logits, row.forbidden)
    return logits


def _lowest(logits: Tensor, rows: Sequence[SamplingRow], draw_rows: Sequence[DrawRow]) -> Tensor | None:
    """The smallest logit that may be chosen in each row `[num_rows]`; None where every token may."""
    filtered = [index for index, row in enumerate(rows) if is_filtered(row.params) and not draw_rows[index].is_greedy]
    if not filtered:
        return None
    temperatures = torch.tensor([rows[index].params.temperature for index in filtered], device=logits.device)
    lowest = torch.full((len(rows),), -torch.inf, device=logits.device)
    lowest[filtered] = thresholds(logits[filtered], temperatures, [rows[index].params for index in filtered])
    return lowest
