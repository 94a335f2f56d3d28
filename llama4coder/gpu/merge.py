"""Exact attention from partial attention, in one kernel."""

import torch
from torch import Tensor

from llama4coder.attention.merge import AttentionOutput
from llama4coder.gpu.merge_kernels import merge_parts_kernel
from llama4coder.gpu.tiles import next_power_of_two

PARTS_AT_ONCE = 8


def merge(outs: Tensor, lses: Tensor) -> AttentionOutput:
    """See `attention.merge.merge`; a part with an LSE of -inf is not read."""
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
