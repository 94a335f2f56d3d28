"""SiLU(gate) * up on a GPU."""

import torch
from torch import Tensor

from llama4coder.gpu.fp8 import QuantisedTokens
from llama4coder.gpu.swiglu_kernels import swiglu_kernel, swiglu_quantise_kernel
from llama4coder.gpu.tiles import next_power_of_two, warps_for

_BLOCK = 1024


def swiglu(gate_up: Tensor) -> Tensor:
    """`[num_tokens, width]` from `[num_tokens, 2 * width]`, whose first half is the gate."""
    num_tokens, width = len(gate_up), gate_up.shape[1] // 2
    out = torch.empty(num_tokens, width, dtype=gate_up.dtype, device=gate_up.device)
    if num_tokens:
        block = min(_BLOCK, next_power_of_two(width))
        grid = (num_tokens, -(-width // block))
        swiglu_kernel[grid](out, gate_up.contiguous(), WIDTH=width, BLOCK=block, num_warps=4)
    return out


def quantised_swiglu(gate_up: Tensor) -> QuantisedTokens:
    """The same in FP8, each token with its own scale."""
    num_tokens, width = len(gate_up), gate_up.shape[1] // 2
    out = QuantisedTokens.empty(num_tokens, width, gate_up.device)
    if num_tokens:
        block = next_power_of_two(width)
        swiglu_quantise_kernel[(num_tokens,)](
            out.values, out.scales, gate_up.contiguous(), WIDTH=width, BLOCK=block, num_warps=warps_for(block)
        )
    return out
