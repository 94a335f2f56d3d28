"""Top-k, top-p and min-p as one threshold per row: the smallest logit that may still be chosen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llama4coder.types import SamplingParams

_NUM_CANDIDATES = 1024  # a whole vocabulary is sorted only for rows whose top-p mass needs more than these


def is_filtered(params: SamplingParams) -> bool:
    """Whether any of the three is on."""
    return params.top_k > 0 or params.top_p < 1.0 or params.min_p > 0.0


def thresholds(logits: Tensor, temperatures: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """The smallest logit to keep in each row `[num_rows]` of `logits` `[num_rows, vocab_size]`.

    Applied in this order to the probabilities at the row's temperature: the k largest; of these the fewest that hold
    `top_p` of their mass; of these such with at least `min_p` times the largest probability. Tokens tied with the last
    one kept are kept.
    """
    vocab_size = logits.shape[-1]
    reach = [min(row.top_k, vocab_size) or vocab_size for row in params]
    top_k = torch.tensor(reach, device=logits.device).unsqueeze(1)
    top_p = torch.tensor([row.top_p for row in params], device=logits.device).unsqueeze(1)
    min_p = torch.tensor([row.min_p for row in params], device=logits.device).unsqueeze(1)
    temperatures = temperatures.unsqueeze(1)
    candidates = min(_NUM_CANDIDATES, vocab_size)
    smallest = _smallest_kept(logits, temperatures, top_k, top_p, candidates)
    by_min_p = logits.amax(-1, keepdim=True) + min_p.log() * temperatures  # log 0 keeps everything
    return torch.maximum(smallest, by_min_p).squeeze(1)


def _smallest_kept(logits: Tensor, temperatures: Tensor, top_k: Tensor, top_p: Tensor, num_candidates: int) -> Tensor:
    values = logits.topk(num_candidates, dim=-1).values
    in_top_k = torch.arange(num_candidates, device=logits.device) < top_k
    mass = _mass(logits, values, temperatures, in_top_k, top_k)
    before = mass.cumsum(-1) - mass
    kept = in_top_k & (before < top_p)
    kept[:, 0] = True
    smallest = values.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
    # The candidates do not decide a row if more than they might be kept, or if top-k, whose mass counts, reaches past.
    vocab_size, reach = logits.shape[-1], top_k.squeeze(1)
    undecided = (reach > num_candidates) & (kept[:, -1] | (reach < vocab_size))
    if undecided.any():
        rows = (logits[undecided], temperatures[undecided], top_k[undecided], top_p[undecided])
        smallest[undecided] = _smallest_kept(*rows, vocab_size)
    return smallest


def _mass(logits: Tensor, values: Tensor, temperatures: Tensor, in_top_k: Tensor, top_k: Tensor) -> Tensor:
    """Probabilities of the candidates among what top-k keeps."""
    scaled = values / temperatures
    of_candidates = scaled.masked_fill(~in_top_k, -torch.inf).logsumexp(-1, keepdim=True)
    of_all = (logits / temperatures).logsumexp(-1, keepdim=True)
    total = torch.where(top_k <= values.shape[-1], of_candidates, of_all)
    return (scaled - total).exp() * in_top_k
