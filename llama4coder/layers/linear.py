"""Matrix products with weights; the place where quantised weights will take over."""

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    """Maps `[num_tokens, in_features]` to `[num_tokens, out_features]`."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The product, plus `residual` `[num_tokens, out_features]` if there is one."""
        ...

    def wide(self, x: Tensor) -> Tensor:
        """The product in float32, for logits."""
        ...

    def rows(self, indices: Tensor) -> Tensor:
        """Rows of the weight matrix `[num_indices, in_features]`: an embedding that is tied to the head."""
        ...


@dataclass(frozen=True, slots=True)
class DenseLinear:
    """Weights in the model's dtype; `weight` is `[out_features, in_features]`."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = F.linear(x, self.weight, self.bias)
        return product if residual is None else residual + product

    def wide(self, x: Tensor) -> Tensor:
        return self(x).float()

    def rows(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight)
