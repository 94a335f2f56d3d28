"""RMS normalisation."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """x / rms(x) * weight, the mean taken in float32 as the models were trained (arXiv 1910.07467)."""

    weight: Tensor  # [hidden_size]
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)
