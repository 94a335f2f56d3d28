"""Top-k, top-p and min-p as one threshold per row: the smallest logit that may still be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class FilterRow:
    """What may be chosen in one row."""

    temperature: float
    top_k: int = 0  # 0 keeps the whole vocabulary
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def is_off(self) -> bool:
        return self.top_k == 0 and self.top_p >= 1.0 and self.min_p == 0.0


class TokenFilter(Protocol):
    """The smallest logit to keep in each row `[num_rows]` of float32 `logits` `[num_rows, vocab_size]`.

    Applied in this order to the probabilities at the row's temperature: the k largest; of these the fewest that hold
    `top_p` of their mass; of these such with at least `min_p` times the largest probability. Tokens tied with the last
    one kept are kept; a row that is off keeps everything (-inf).
    """

    def __call__(self, logits: Tensor, rows: Sequence[FilterRow]) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class TorchFilter:
    """Implements `TokenFilter` anywhere, by sorting.

    On a CPU sorting a whole vocabulary is slow: the largest logits are sorted first, and everything only for rows that
    they do not decide. On a GPU finding those rows would cost more than the sort: None sorts everything at once.
    """

    num_candidates: int | None = 1024

    def __call__(self, logits: Tensor, rows: Sequence[FilterRow]) -> Tensor:
        """See `TokenFilter`."""
        lowest = torch.full((len(rows),), -torch.inf, device=logits.device)
        on = [index for index, row in enumerate(rows) if not row.is_off]
        if on:
            lowest[on] = self._thresholds(logits[on], [rows[index] for index in on])
        return lowest

    def _thresholds(self, logits: Tensor, rows: Sequence[FilterRow]) -> Tensor:
        vocab_size = logits.shape[-1]
        columns = (
            [row.temperature for row in rows],
            [min(row.top_k, vocab_size) or vocab_size for row in rows],
            [row.top_p for row in rows],
            [row.min_p for row in rows],
        )
        temperature, top_k, top_p, min_p = (torch.tensor(column, device=logits.device)[:, None] for column in columns)
        num_candidates = min(self.num_candidates or vocab_size, vocab_size)
        smallest = _smallest_kept(logits, temperature, top_k, top_p, num_candidates)
        by_min_p = logits.amax(-1, keepdim=True) + min_p.log() * temperature  # log 0 keeps everything
        return torch.maximum(smallest, by_min_p).squeeze(1)


def _smallest_kept(logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, num_candidates: int) -> Tensor:
    values = logits.topk(num_candidates, dim=-1).values
    in_top_k = torch.arange(num_candidates, device=logits.device) < top_k
    mass = _mass(logits, values, temperature, in_top_k, top_k)
    before = mass.cumsum(-1) - mass
    kept = in_top_k & ((before < top_p) | (top_p >= 1.0))  # a sum of all may round to more than 1
    kept[:, 0] = True
    smallest = values.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
    if num_candidates < logits.shape[-1]:
        _decide_the_rest(smallest, kept, logits, temperature, top_k, top_p)
    return smallest


def _decide_the_rest(
    smallest: Tensor, kept: Tensor, logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor
) -> None:
    """Sort everything for rows that might keep more than the candidates, or whose top-k, whose mass counts, does."""
    vocab_size, num_candidates, reach = logits.shape[-1], kept.shape[-1], top_k.squeeze(1)
    undecided = (reach > num_candidates) & (kept[:, -1] | (reach < vocab_size))
    if undecided.any():
        columns = (logits[undecided], temperature[undecided], top_k[undecided], top_p[undecided])
        smallest[undecided] = _smallest_kept(*columns, vocab_size)


def _mass(logits: Tensor, values: Tensor, temperature: Tensor, in_top_k: Tensor, top_k: Tensor) -> Tensor:
    """Probabilities of the candidates among what top-k keeps."""
    scaled = values / temperature
    of_candidates = scaled.masked_fill(~in_top_k, -torch.inf).logsumexp(-1, keepdim=True)
    of_all = (logits / temperature).logsumexp(-1, keepdim=True)
    total = torch.where(top_k <= values.shape[-1], of_candidates, of_all)
    return (scaled - total).exp() * in_top_k
