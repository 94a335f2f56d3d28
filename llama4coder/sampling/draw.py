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


class TokenDraw(Protocol):
    """argmax(logits / temperature + gumbel(key)) of each row (design section 5).

    Takes float32 logits `[num_rows, vocab_size]`, which it leaves alone, and `lowest` `[num_rows]`: tokens whose logit
    is below it are out (None: all are in). Returns token ids `[num_rows]`, int64, on the logits' device, without
    waiting for them. Implementations agree up to the rounding of the logarithms, on every device.
    """

    def __call__(self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None) -> Tensor: ...


class TorchDraw:
    """Implements `TokenDraw` anywhere; the noise itself is computed on the CPU."""

    def __call__(self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None) -> Tensor:
        """See `TokenDraw`."""
        drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
        if len(drawn) == len(rows):
            return _draw(logits, rows, lowest)
        chosen = logits.argmax(-1)
        if drawn:
            its_lowest = None if lowest is None else lowest[drawn]
            chosen[drawn] = _draw(logits[drawn], [rows[index] for index in drawn], its_lowest)
        return chosen


def _draw(logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None) -> Tensor:
    temperatures = torch.tensor([row.temperature for row in rows], device=logits.device).unsqueeze(1)
    noise = gumbel_noise([row.key for row in rows], logits.shape[-1]).to(logits.device)
    perturbed = noise.addcdiv_(logits, temperatures)  # one pass over what is the largest array of a step
    if lowest is not None:
        perturbed.masked_fill_(logits < lowest.unsqueeze(1), -torch.inf)
    return perturbed.argmax(-1)
