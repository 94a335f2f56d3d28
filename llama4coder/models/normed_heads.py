"""Query and key heads that are normalised before they are rotated, as in Qwen3: https://arxiv.org/abs/2505.09388."""

from dataclasses import dataclass

from torch import Tensor

from llama4coder.attention.batch import HeadLayout
from llama4coder.layers.linear import Linear
from llama4coder.layers.norm import Norm


@dataclass(frozen=True, slots=True)
class HeadNormedLinear:
    """Implements `layers.linear.Linear` for the merged projections `[queries | keys | values]`, which have no residual.

    All heads of a kind share one norm of `[head_dim]`.
    """

    product: Linear
    query_norm: Norm
    key_norm: Norm
    heads: HeadLayout

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        assert residual is None, "attention comes between these projections and the residual stream"
        projected = self.product(x)
        by_head = projected.view(len(x), -1, self.heads.head_dim)
        first_key, first_value = self.heads.num_heads, self.heads.num_heads + self.heads.num_kv_heads
        self._normalise(by_head[:, :first_key], self.query_norm)
        self._normalise(by_head[:, first_key:first_value], self.key_norm)
        return projected

    def _normalise(self, heads: Tensor, norm: Norm) -> None:
        heads.copy_(norm(heads.reshape(-1, self.heads.head_dim)).view_as(heads))
