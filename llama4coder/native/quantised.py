"""Quantised weights in the order in which the native kernels read them; what they mean is in `quant.formats`."""

import ctypes
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.kv.sizing import INT4_GROUP
from llama4coder.native.linear import PANEL, Format, Matrix, NativeLinear
from llama4coder.quant.formats import Int4Weights, Int8Weights


@dataclass(frozen=True, slots=True)
class Int8Linear(NativeLinear):
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, in_features, 32]`."""

    scales: Tensor  # float32 [num_panels * 32]

    @classmethod
    def pack(cls, library: ctypes.CDLL, weights: Int8Weights, bias: Tensor | None) -> "Int8Linear":
        """Rearrange any weights."""
        out_features, in_features = weights.values.shape
        packed = _panels(weights.values).transpose(1, 2).contiguous()
        scales = F.pad(weights.scales, (0, -out_features % PANEL))
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), scales.data_ptr(), bias_at, out_features, in_features, Format.INT8)
        return cls(library, packed, bias, matrix, scales)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Linear.rows`."""
        values = self.packed[indices // PANEL, :, indices % PANEL]
        return Int8Weights(values, self.scales[indices]).dequantise().bfloat16()


@dataclass(frozen=True, slots=True)
class Int4Linear(NativeLinear):
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, num_groups, 640]` bytes.

    A group holds 32 steps, 32 lows, and per 8 inputs one 32-bit word for each output, the first input in its low bits.
    """

    @classmethod
    def pack(cls, library: ctypes.CDLL, weights: Int4Weights, bias: Tensor | None) -> "Int4Linear":
        """Rearrange any weights."""
        out_features, in_features = len(weights.nibbles), 2 * weights.nibbles.shape[1]
        steps, lows = (
            _panels(tensor).transpose(1, 2).contiguous().view(torch.uint8) for tensor in (weights.steps, weights.lows)
        )
        words = _panels(weights.nibbles).reshape(len(steps), PANEL, -1, INT4_GROUP // 8, 4)
        words = words.permute(0, 2, 3, 1, 4).flatten(2)
        packed = torch.cat((steps, lows, words), dim=2)
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), None, bias_at, out_features, in_features, Format.INT4)
        return cls(library, packed, bias, matrix)

    def rows(self, indices: Tensor) -> Tensor:
        """See `Linear.rows`."""
        panels, lanes = self.packed[indices // PANEL], indices % PANEL
        each = torch.arange(len(indices))
        steps, lows = (panels[..., first : first + 64].view(torch.bfloat16)[each, :, lanes] for first in (0, 64))
        words = panels[..., 128:].reshape(len(indices), -1, INT4_GROUP // 8, PANEL, 4)[each, :, :, lanes]
        return Int4Weights(words.flatten(1), steps, lows).dequantise().bfloat16()


def _panels(rows: Tensor) -> Tensor:
    """`[num_panels, 32, ...]` of `[out_features, ...]`, filled up with zeros."""
    return F.pad(rows, (0, 0, 0, -len(rows) % PANEL)).reshape(-1, PANEL, rows.shape[1])
