"""The last step of sampling: one token per row, drawn by adding noise and taking the largest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.sampling.noise import NoiseKey, gumbel_noise

GREEDY_BELOW = 1e-5  # below this temperature the division overflows before it changes the outcome


@dataclass(frozen=True, slots=True)
class DrawRow:
    """How one row's token is drawn; a greedy row takes its largest logit and no noise."""

    key: NoiseKey
    temperature: float

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW


@dataclass(frozen=True, slots=True, repr=False)
class Drawn:
    """The winner of each row and what it won with, `[num_rows]` each, on the logits' device."""

    token_ids: Tensor  # int64
    values: Tensor  # float32: logit / temperature + noise, in greedy rows the logit


class TokenDraw(Protocol):
    """argmax(logits / temperature + gumbel(key)) of each row (design section 5).

    Takes float32 logits `[num_rows, num_tokens]` of the tokens from `first_token`, a multiple of 64, on, and leaves
    them alone; and `lowest` `[num_rows]`: tokens whose logit is below it are out (None: all are in). Does not wait for
    the device. Of equal values the first wins. Implementations agree up to the rounding of the logarithms.
    """

    def __call__(
        self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None, first_token: int = 0
    ) -> Drawn: ...


class TorchDraw:
    """Implements `TokenDraw` anywhere; the noise itself is computed on the CPU."""

    def __call__(self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None, first_token: int = 0) -> Drawn:
        """See `TokenDraw`."""
        drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
        values = logits if lowest is None else logits.masked_fill(logits < lowest.unsqueeze(1), -torch.inf)
        if drawn:
            perturbed = _perturbed(values[drawn], [rows[index] for index in drawn], first_token)
            values = perturbed if len(drawn) == len(rows) else values.index_copy(0, _index(drawn, logits), perturbed)
        best = values.max(-1)
        return Drawn(best.indices + first_token, best.values)


def _perturbed(logits: Tensor, rows: Sequence[DrawRow], first_token: int) -> Tensor:
    temperatures = torch.tensor([row.temperature for row in rows], device=logits.device).unsqueeze(1)
    noise = gumbel_noise([row.key for row in rows], logits.shape[-1], first_token).to(logits.device)
    return noise.addcdiv_(logits, temperatures)  # one pass over what is the largest array of a step


def _index(rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)
