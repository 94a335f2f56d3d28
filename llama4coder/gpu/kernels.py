"""The kernels of this package as a set of parts for a model on a GPU."""

from enum import Enum, auto

from torch import Tensor

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.attention.by_format import torch_attention
from llama4coder.config import KVFormat
from llama4coder.gpu.attention import PagedAttention, supports
from llama4coder.gpu.fp8 import Fp8Linear
from llama4coder.gpu.layer import Fp8Layer
from llama4coder.gpu.linear import GpuLinear
from llama4coder.gpu.nf4 import Nf4Linear
from llama4coder.gpu.norm import GpuNorm
from llama4coder.gpu.swiglu import swiglu
from llama4coder.kv.sizing import covers
from llama4coder.layers.linear import Head
from llama4coder.layers.norm import Norm
from llama4coder.models.llama import DecoderLayer, Layer
from llama4coder.shape import MatrixShape


class GpuQuant(Enum):
    """How weights are kept."""

    NONE = auto()  # in the model's dtype
    FP8 = auto()
    NF4 = auto()


class GpuKernels:
    """Implements `layers.kernels.Kernels`; matrices of sizes that a format does not cover stay in the model's dtype."""

    def __init__(
        self, quant: GpuQuant = GpuQuant.NONE, kv_format: KVFormat = "dense", block_bounds: bool = False
    ) -> None:
        self._quant = quant
        self._kv_format = kv_format
        self._block_bounds = block_bounds

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Fp8Linear | Nf4Linear | GpuLinear:
        """See `Kernels.linear`."""
        if self._becomes_fp8(weight):
            return Fp8Linear.of(weight, bias)
        if self._quant is GpuQuant.NF4 and covers("nf4", MatrixShape(*weight.shape)):
            return Nf4Linear.of(weight, bias)
        return self.dense(weight, bias)

    def head(self, weight: Tensor) -> Head:
        """See `Kernels.head`; in FP8 it is rounded as all others are, in NF4 it stays in the model's dtype."""
        return Fp8Linear.of(weight, None) if self._becomes_fp8(weight) else self.dense(weight)

    def dense(self, weight: Tensor, bias: Tensor | None = None) -> GpuLinear:
        """See `Kernels.dense`."""
        return GpuLinear(weight, bias)

    def norm(self, weight: Tensor, eps: float) -> Norm:
        """See `Kernels.norm`."""
        return GpuNorm(weight, eps)

    def attention(self, heads: HeadLayout) -> ShardableAttention:
        """See `Kernels.attention`; torch computes what Triton does not, such as a choice of blocks."""
        if self._block_bounds or not supports(heads):
            return torch_attention(heads, self._kv_format)
        return PagedAttention(heads)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """See `Kernels.swiglu`."""
        return swiglu(gate_up)

    def fuse(self, layer: DecoderLayer) -> Layer:
        """See `Kernels.fuse`."""
        return Fp8Layer.of(layer) or layer

    def _becomes_fp8(self, weight: Tensor) -> bool:
        return self._quant is GpuQuant.FP8 and covers("fp8", MatrixShape(*weight.shape))
