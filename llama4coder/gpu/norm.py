"""RMS normalisation on a GPU, and what can be done in the same pass over the tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.gpu.fp8 import QuantisedTokens
from llama4coder.gpu.norm_kernels import rms_norm_kernel
from llama4coder.gpu.tiles import next_power_of_two, warps_for


@dataclass(frozen=True, slots=True)
class NormedSum:
    """The residual stream after an addition `[num_tokens, hidden_size]`, and its norm in FP8."""

    sum: Tensor
    normed: QuantisedTokens


@dataclass(frozen=True, slots=True)
class GpuNorm:
    """Implements `layers.norm.Norm`."""

    weight: Tensor  # [hidden_size]
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.empty_like(x)
        self._launch(out, None, None, x, None)
        return out

    def quantised(self, x: Tensor) -> QuantisedTokens:
        """The norm in FP8, each token with its own scale."""
        out = QuantisedTokens.empty_like(x)
        self._launch(out.values, out.scales, None, x, None)
        return out

    def quantised_sum(self, x: Tensor, delta: Tensor) -> NormedSum:
        """x + delta, and the norm of that in FP8."""
        out = NormedSum(torch.empty_like(x), QuantisedTokens.empty_like(x))
        self._launch(out.normed.values, out.normed.scales, out.sum, x, delta)
        return out

    def _launch(
        self, out: Tensor, scales: Tensor | None, summed: Tensor | None, x: Tensor, delta: Tensor | None
    ) -> None:
        block = next_power_of_two(x.shape[1])
        if len(x):
            rms_norm_kernel[(len(x),)](
                out,
                scales,
                summed,
                x.contiguous(),
                delta,
                self.weight,
                self.eps,
                WIDTH=x.shape[1],
                BLOCK=block,
                ADD=delta is not None,
                QUANTISE=scales is not None,
                num_warps=warps_for(block),
            )
