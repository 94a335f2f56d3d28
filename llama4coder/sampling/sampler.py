"""Chooses the next token of each row: argmax(log p / T + noise(seed, position)) (design section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.sampling.adjust import TokenCounts, add_bias, forbid
from llama4coder.sampling.filters import is_filtered, thresholds
from llama4coder.sampling.noise import NoiseKey, gumbel_noise
from llama4coder.types import SamplingParams

_GREEDY_BELOW = 1e-5  # below this temperature the division overflows before it changes the outcome


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """One row's share of the sampler's input; `position` is the index of the token to choose in its sequence."""

    params: SamplingParams
    seed: int
    position: int
    counts: TokenCounts | None = None
    forbidden: Sequence[int] = ()

    @property
    def is_greedy(self) -> bool:
        return self.params.temperature < _GREEDY_BELOW

    @property
    def is_adjusted(self) -> bool:
        return bool(self.counts is not None or self.params.logit_bias or self.forbidden)


def sample(logits: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """Token ids, one per row of `logits` `[num_rows, vocab_size]` (float32, not changed)."""
    if any(row.is_adjusted for row in rows):
        logits = _adjusted(logits, rows)
    drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
    if len(drawn) == len(rows):
        chosen = _draw(logits, rows)
    else:
        chosen = logits.argmax(-1)
        if drawn:
            chosen[drawn] = _draw(logits[drawn], [rows[index] for index in drawn])
    token_ids: list[int] = chosen.tolist()
    return token_ids


def _adjusted(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    logits = logits.clone()
    for row_logits, row in zip(logits, rows, strict=True):
        if row.counts is not None:
            row.counts.penalise(row_logits, row.params)
        add_bias(row_logits, row.params)
        forbid(row_logits, row.forbidden)
    return logits


def _draw(logits: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
    temperatures = torch.tensor([row.params.temperature for row in rows], device=logits.device).unsqueeze(1)
    noise = gumbel_noise([NoiseKey(row.seed, row.position) for row in rows], logits.shape[-1]).to(logits.device)
    perturbed = noise.addcdiv_(logits, temperatures)  # one pass over what is the largest array of a step
    filtered = [index for index, row in enumerate(rows) if is_filtered(row.params)]
    if filtered:
        scaled = logits[filtered] / temperatures[filtered]
        lowest = thresholds(scaled, [rows[index].params for index in filtered])
        perturbed[filtered] = perturbed[filtered].masked_fill(scaled < lowest, -torch.inf)
    return perturbed.argmax(-1)
