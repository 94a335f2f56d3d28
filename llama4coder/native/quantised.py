"""Quantised weights in the order in which the native kernels read them; what they mean is in `quant.formats`."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import INT4_GROUP
from llama4coder.native.linear import PANEL, Format, Matrix, NativeLinear
from llama4coder.quant.formats import Int4Weights, Int8Weights

_GROUP_BYTES = 640
_FIRST_LOW, _FIRST_WORD = 2 * PANEL, 4 * PANEL  # bytes in a group


class _QuantiseArgs(ctypes.Structure):
    """`quantise_args` of quantise.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("weight", "packed", "scales")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
    ]


@dataclass(frozen=True, slots=True)
class Int8Linear(NativeLinear):
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, in_features, 32]`."""

    scales: Tensor  # float32 [num_panels * 32]

    @classmethod
    def quantise(cls, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> "Int8Linear":
        """To `Int8Weights` of any bfloat16 `weight` `[out_features, in_features]`."""
        out_features, in_features = weight.shape
        num_panels, weight = -(-out_features // PANEL), weight.contiguous()
        packed = torch.zeros(num_panels, in_features, PANEL, dtype=torch.int8)
        scales = torch.zeros(num_panels * PANEL)
        args = _QuantiseArgs(weight.data_ptr(), packed.data_ptr(), scales.data_ptr(), out_features, in_features)
        library.l4c_quantise_int8(ctypes.byref(args))
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), scales.data_ptr(), bias_at, out_features, in_features, Format.INT8)
        return cls(library, packed, bias, matrix, scales)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`."""
        values = self.packed[indices // PANEL, :, indices % PANEL]
        return Int8Weights(values, self.scales[indices]).dequantise().bfloat16()


@dataclass(frozen=True, slots=True)
class Int4Linear(NativeLinear):
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, num_groups, 640]` bytes.

    A group holds 32 steps, 32 lows, and per 8 inputs one 32-bit word for each output, the first input in its low bits.
    """

    @classmethod
    def quantise(cls, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> "Int4Linear":
        """To `Int4Weights` of bfloat16 `weight` `[out_features, in_features]`; in_features is a multiple of 32."""
        out_features, in_features = weight.shape
        num_panels, weight = -(-out_features // PANEL), weight.contiguous()
        packed = torch.zeros(num_panels, in_features // INT4_GROUP, _GROUP_BYTES, dtype=torch.uint8)
        args = _QuantiseArgs(weight.data_ptr(), packed.data_ptr(), None, out_features, in_features)
        library.l4c_quantise_int4(ctypes.byref(args))
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), None, bias_at, out_features, in_features, Format.INT4)
        return cls(library, packed, bias, matrix)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`."""
        panels, each, lanes = self.packed[indices // PANEL], torch.arange(len(indices)), indices % PANEL
        steps = panels[..., :_FIRST_LOW].view(torch.bfloat16)[each, :, lanes]
        lows = panels[..., _FIRST_LOW:_FIRST_WORD].view(torch.bfloat16)[each, :, lanes]
        words = panels[..., _FIRST_WORD:].reshape(len(indices), -1, INT4_GROUP // 8, PANEL, 4)[each, :, :, lanes]
        return Int4Weights(words.flatten(1), steps, lows).dequantise().bfloat16()
