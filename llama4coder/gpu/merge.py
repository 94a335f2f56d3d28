"""Exact attention from partial attention: each part counts by the exponential of its log-sum-exp."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.gpu.merge_kernels import merge_parts_kernel
from llama4coder.gpu.tiles import next_power_of_two

PARTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class AttentionOutput:
    """What queries attended to, and how much there was: what it takes to merge it with other parts."""

    out: Tensor  # [num_tokens, num_heads, head_dim]
    lse: Tensor  # [num_tokens, num_heads], float32: log of the sum of exp(scores); -inf where nothing was seen


def merge(outs: Tensor, lses: Tensor) -> AttentionOutput:
    """Attention over all keys from attention over disjoint parts of them, on KV shards or in shared prefixes.

    `outs` is `[num_parts, num_tokens, num_heads, head_dim]`, `lses` `[num_parts, num_tokens, num_heads]` in float32.
    A part with an LSE of -inf is not read.
    """
    num_parts, num_tokens, num_heads, head_dim = outs.shape
    merged = AttentionOutput(torch.empty_like(outs[0]), torch.empty_like(lses[0]))
    if num_tokens:
        merge_parts_kernel[num_tokens, num_heads](
            merged.out,
            merged.lse,
            outs.contiguous(),
            lses.contiguous(),
            num_parts,
            num_tokens * num_heads,
            HEAD_DIM=head_dim,
            BLOCK_D=next_power_of_two(head_dim),
            BLOCK_P=PARTS_AT_ONCE,
            num_warps=2,
        )
    return merged
