"""Matrix products with weights, in whatever form these are kept."""

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Linear(Protocol):
    """Maps `[num_tokens, in_features]` to `[num_tokens, out_features]`."""

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The product, plus `residual` `[num_tokens, out_features]` if there is one; it may take that one's memory."""
        ...


class Head(Protocol):
    """The last product, whose matrix `[vocab_size, hidden_size]` may be the embedding as well."""

    def wide(self, x: Tensor) -> Tensor:
        """Logits `[num_tokens, vocab_size]` in float32."""
        ...

    def rows(self, indices: Tensor) -> Tensor:
        """Rows of the matrix `[num_indices, hidden_size]`."""
        ...


class DenseMatrix(Linear, Head, Protocol):
    """Either."""


@dataclass(frozen=True, slots=True)
class DenseLinear:
    """Implements `Linear` and `Head` in the model's dtype; `weight` is `[out_features, in_features]`."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        product = F.linear(x, self.weight, self.bias)
        return product if residual is None else residual + product

    def wide(self, x: Tensor) -> Tensor:
        return self(x).float()

    def rows(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.weight)
