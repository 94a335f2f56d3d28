"""Products with weights in the model's dtype."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GpuLinear:
    """Implements `layers.linear.Linear`; the product adds itself to the residual, in its place."""

    weight: Tensor  # [out_features, in_features]
    bias: Tensor | None = None

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if residual is None:
            return F.linear(x, self.weight, self.bias)
        product = residual.addmm_(x, self.weight.t())
        return product if self.bias is None else product.add_(self.bias)

    def wide(self, x: Tensor) -> Tensor:
        """See `Head.wide`."""
        return self(x).float()

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`."""
        return F.embedding(indices, self.weight)
