"""RMS normalisation."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Norm(Protocol):
    """x / rms(x) * weight over the last axis of `[num_tokens, hidden_size]` (arXiv 1910.07467)."""

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class RMSNorm:
    """With torch; the mean is taken in float32 as the models were trained."""

    weight: Tensor  # [hidden_size]
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)
