"""Exact attention from partial attention: each part counts by the exponential of its log-sum-exp."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AttentionOutput:
    """What queries attended to, and how much there was: what it takes to merge it with other parts."""

    out: Tensor  # [num_tokens, num_heads, head_dim]
    lse: Tensor  # [num_tokens, num_heads], float32: log of the sum of exp(scores); -inf where nothing was seen


def merge(outs: Tensor, lses: Tensor) -> AttentionOutput:
    """Attention over all keys from attention over disjoint parts of them.

    `outs` is `[num_parts, num_tokens, num_heads, head_dim]`, `lses` `[num_parts, num_tokens, num_heads]` in float32.
    A part with an LSE of -inf counts for nothing, whatever its output holds; of such parts alone come zeros and -inf.
    """
    lse = lses.logsumexp(0)
    weights = (lses - lse.masked_fill(lse.isneginf(), 0.0)).exp().unsqueeze(-1)
    parts = outs.float().masked_fill(weights == 0, 0.0)
    return AttentionOutput((parts * weights).sum(0).to(outs.dtype), lse)
