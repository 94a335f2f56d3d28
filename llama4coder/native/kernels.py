"""The native kernels as a set of parts for a bfloat16 model on a CPU."""

import ctypes

import torch
from torch import Tensor

from llama4coder.attention.backend import ShardableAttention
from llama4coder.attention.batch import HeadLayout
from llama4coder.config import KVFormat, QuantFormat
from llama4coder.layers.kernels import TorchKernels
from llama4coder.layers.linear import DenseLinear, Head, Linear
from llama4coder.layers.norm import Norm
from llama4coder.models.llama import DecoderLayer, Layer
from llama4coder.native.attention import NativeAttention, supports
from llama4coder.native.layer import FusedLayer, Scratch
from llama4coder.native.linear import PackedLinear
from llama4coder.native.norm import NativeNorm
from llama4coder.native.quantised import Int4Linear, Int8Linear
from llama4coder.quant.kernels import DequantisingLinear, quantise, quantise_head


class _SwigluArgs(ctypes.Structure):
    """`swiglu_args` of elementwise.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("gate_up", "out")),
        *((name, ctypes.c_int64) for name in ("m", "n")),
    ]


class NativeKernels:
    """Implements `layers.kernels.Kernels`; what the C code does not cover falls back to torch, part by part.

    These are some sizes, and products with weights in FP8 or NF4.
    """

    def __init__(self, library: ctypes.CDLL, quant: QuantFormat = "none", kv_format: KVFormat = "dense") -> None:
        self._library = library
        self._quant = quant
        self._kv_format = kv_format
        self._torch = TorchKernels(kv_format)
        self._scratch = Scratch()

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """See `Kernels.linear`."""
        if self._quant == "int4":
            return Int4Linear.quantise(self._library, weight, bias)
        if self._quant == "int8":
            return Int8Linear.quantise(self._library, weight, bias)
        weights = None if self._quant == "none" else quantise(self._quant, weight)
        return self.dense(weight, bias) if weights is None else DequantisingLinear(weights, bias, weight.dtype)

    def head(self, weight: Tensor) -> Head:
        """See `Kernels.head`."""
        if self._quant in ("int8", "int4"):
            return Int8Linear.quantise(self._library, weight, None)
        weights = None if self._quant == "none" else quantise_head(self._quant, weight)
        return self.dense(weight) if weights is None else DequantisingLinear(weights, None, weight.dtype)

    def dense(self, weight: Tensor, bias: Tensor | None = None) -> PackedLinear | DenseLinear:
        """See `Kernels.dense`."""
        if weight.shape[1] % 2:
            return DenseLinear(weight, bias)
        return PackedLinear.pack(self._library, weight, bias)

    def norm(self, weight: Tensor, eps: float) -> Norm:
        """See `Kernels.norm`."""
        return NativeNorm(self._library, weight, eps)

    def attention(self, heads: HeadLayout) -> ShardableAttention:
        """See `Kernels.attention`."""
        return NativeAttention(self._library, heads) if supports(heads) else self._torch.attention(heads)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        """See `Kernels.swiglu`."""
        width = gate_up.shape[1] // 2
        if width % 16:
            return self._torch.swiglu(gate_up)
        out = torch.empty(len(gate_up), width, dtype=torch.bfloat16)
        args = _SwigluArgs(gate_up.data_ptr(), out.data_ptr(), *out.shape)
        self._library.l4c_swiglu(ctypes.byref(args))
        return out

    def fuse(self, layer: DecoderLayer) -> Layer:
        """See `Kernels.fuse`."""
        return FusedLayer.of(self._library, layer, self._scratch) or layer
