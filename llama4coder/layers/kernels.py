"""What a model is built from: one set of kernels per kind of hardware and dtype."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from llama4coder.config import KVFormat
from llama4coder.layers.linear import DenseLinear, DenseMatrix, Head, Linear
from llama4coder.layers.norm import Norm, RMSNorm
from llama4coder.models.llama import DecoderLayer, Layer


class Kernels(Protocol):
    """Makes the parts of a model; they may keep the weights in a form of their own."""

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear: ...

    def head(self, weight: Tensor) -> Head:
        """Never kept in fewer than 8 bits."""
        ...

    def dense(self, weight: Tensor, bias: Tensor | None = None) -> DenseMatrix:
        """`linear` or `head` of a matrix that stays in the model's dtype, whatever becomes of others."""
        ...

    def norm(self, weight: Tensor, eps: float) -> Norm: ...

    def attention(self, heads: HeadLayout) -> ShardableAttention:
        """Over KV of the one format that these kernels are for."""
        ...

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """silu(gate) * up of `[num_tokens, 2 * width]`, whose first half is the gate."""
        ...

    def fuse(self, layer: DecoderLayer) -> Layer:
        """The same layer as fewer calls where these kernels can do that, else the layer itself."""
        ...


class TorchKernels:
    """Torch's own, for every device and dtype."""

    def __init__(self, kv_format: KVFormat = "dense") -> None:
        self._kv_format = kv_format

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        return self.dense(weight, bias)

    def head(self, weight: Tensor) -> Head:
        return self.dense(weight)

    def dense(self, weight: Tensor, bias: Tensor | None = None) -> DenseLinear:
        return DenseLinear(weight, bias)

    def norm(self, weight: Tensor, eps: float) -> Norm:
        return RMSNorm(weight, eps)

    def attention(self, heads: HeadLayout) -> ShardableAttention:
        return torch_attention(heads, self._kv_format)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    def fuse(self, layer: DecoderLayer) -> Layer:
        return layer
