"""Matrix products with weights; the place where quantised weights will take over."""

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    """Maps `[num_tokens, in_features]` to `[num_tokens, out_features]`."""

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class DenseLinear:
    """Weights in the model's dtype; `weight` is `[out_features, in_features]`."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
