"""Which tokens the target may well choose next, by what a draft model thinks of them.

Draft and target share the noise of each position (design section 5), so tokens are ranked by the draft's own perturbed
scores, log q / T + noise: the first is its guess, the next ones are what the target chooses if that one is wrong.

Only the tokens with the largest logits get noise. Any other one is chosen as often as the mass of all others says, a
few times in a hundred at most at the temperatures of code; it is then missed, which costs speed and nothing else. For
the same reason top-k, top-p and min-p are applied among these tokens alone, and penalties, for which each guess would
need counts of its own, not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.sampling.adjust import add_bias
from llama4coder.sampling.filters import TorchFilter
from llama4coder.sampling.noise import gumbel_noise_of
from llama4coder.sampling.sampler import SamplingRow

_OUT = 1e4  # behind everything that may be chosen, and still in order: the target may know better


@dataclass(frozen=True, slots=True)
class Ranking:
    """How many tokens are ranked, and among how many."""

    num_ranked: int
    num_perturbed: int = 128

    def __call__(self, logits: Tensor, rows: Sequence[SamplingRow]) -> list[tuple[int, ...]]:
        """The best token ids of each row, best first, for float32 `logits` `[num_rows, vocab_size]`, maybe changed."""
        for row_logits, row in zip(logits, rows, strict=True):
            if row.params.logit_bias:
                add_bias(row_logits, row.params, slice(0, logits.shape[1]))
        draws = [row.draw_row() for row in rows]
        is_greedy = all(draw.is_greedy for draw in draws)
        largest = logits.topk(min(self.num_ranked if is_greedy else self.num_perturbed, logits.shape[1]))
        if is_greedy:
            return _as_tuples(largest.indices)
        values, token_ids = largest.values.cpu(), largest.indices.cpu()
        scores = self._scores(values, token_ids, rows)
        best = scores.topk(min(self.num_ranked, scores.shape[1])).indices
        return _as_tuples(token_ids.gather(1, best))

    def _scores(self, values: Tensor, token_ids: Tensor, rows: Sequence[SamplingRow]) -> Tensor:
        """Of the tokens with these logits, on the CPU, where the noise is computed."""
        draws = [row.draw_row() for row in rows]
        temperatures = torch.tensor([[1.0 if draw.is_greedy else draw.temperature] for draw in draws])
        noise = gumbel_noise_of([draw.key for draw in draws], token_ids.numpy())
        noise[[draw.is_greedy for draw in draws]] = 0.0
        lowest = TorchFilter()(values, [row.filter_row() for row in rows]).unsqueeze(1)
        return values / temperatures + noise - _OUT * (values < lowest)


def _as_tuples(token_ids: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in token_ids.tolist()]
