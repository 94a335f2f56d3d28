"""Quantised weights in the order in which the native kernels read them; what they mean is in `quant.formats`."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import INT4_GROUP
from llama4coder.native.linear import PANEL, Format, Matrix, NativeLinear

_GROUP_BYTES = 640


class _QuantiseArgs(ctypes.Structure):
    """`quantise_args` of quantise.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "packed", "scales")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
    ]


@dataclass(frozen=True, slots=True)
class Int8Linear(NativeLinear):
    """`packed` is `[num_panels, in_features, 32]`, with a zero for one input more where their number is odd."""

    scales: Tensor  # float32 [num_panels * 32]

    @classmethod
    def quantise(cls, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> "Int8Linear":
        """To `quant.formats.Int8Weights` of any bfloat16 `weight` `[out_features, in_features]`."""
        out_features, in_features = weight.shape
        num_panels, weight = -(-out_features // PANEL), weight.contiguous()
        packed = torch.zeros(num_panels, in_features + in_features % 2, PANEL, dtype=torch.int8)
        scales = torch.zeros(num_panels * PANEL)
        args = _QuantiseArgs(weight.data_ptr(), packed.data_ptr(), scales.data_ptr(), out_features, in_features)
        library.l4c_quantise_int8(ctypes.byref(args))
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), scales.data_ptr(), bias_at, out_features, in_features, Format.INT8)
        return cls(library, packed, bias, matrix, scales)


@dataclass(frozen=True, slots=True)
class Int4Linear(NativeLinear):
    """`packed` is `[num_panels, num_groups, 640]` bytes.

    A group holds 32 steps, 32 lows, and per 8 inputs one 32-bit word for each output, the first input in its low bits.
    """

    @classmethod
    def quantise(cls, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> "Int4Linear":
        """To `quant.formats.Int4Weights` of any bfloat16 `weight` `[out_features, in_features]` whose width is a
        multiple of 32.
        """
        out_features, in_features = weight.shape
        num_panels, weight = -(-out_features // PANEL), weight.contiguous()
        packed = torch.zeros(num_panels, in_features // INT4_GROUP, _GROUP_BYTES, dtype=torch.uint8)
        args = _QuantiseArgs(weight.data_ptr(), packed.data_ptr(), None, out_features, in_features)
        library.l4c_quantise_int4(ctypes.byref(args))
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), None, bias_at, out_features, in_features, Format.INT4)
        return cls(library, packed, bias, matrix)
