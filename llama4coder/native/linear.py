"""Matrix products over packed weights."""

import ctypes
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

PANEL = 32  # output features side by side; see linear.h


class Format(IntEnum):
    """How `packed` is to be read; the enumeration of linear.h."""

    BFLOAT16 = 0
    INT8 = 1
    INT4 = 2


class Matrix(ctypes.Structure):
    """`matrix` of linear.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("packed", "scales", "bias")),
        *((name, ctypes.c_int64) for name in ("n", "k", "format")),
    ]


class _LinearArgs(ctypes.Structure):
    """`linear_args` of linear.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("w", "x", "residual", "out", "out_wide")),
        ("m", ctypes.c_int64),
    ]


class _RowsArgs(ctypes.Structure):
    """`rows_args` of rows.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("w", "indices", "out")),
        ("m", ctypes.c_int64),
    ]


@dataclass(frozen=True, slots=True)
class NativeLinear:
    """Implements `layers.linear.Linear` and `Head`, whatever the format."""

    library: ctypes.CDLL
    packed: Tensor
    bias: Tensor | None
    matrix: Matrix  # points into the tensors

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Linear.__call__`."""
        out = torch.empty(len(x), self.matrix.n, dtype=torch.bfloat16)
        self._multiply(x, residual, out.data_ptr(), None)
        return out

    def wide(self, x: Tensor) -> Tensor:
        """See `Head.wide`."""
        out = torch.empty(len(x), self.matrix.n)
        self._multiply(x, None, None, out.data_ptr())
        return out

    def rows(self, indices: Tensor) -> Tensor:
        """See `Head.rows`; with torch it would wake threads that keep the cores from the next products."""
        indices = indices.contiguous()
        out = torch.empty(len(indices), self.matrix.k, dtype=torch.bfloat16)
        args = _RowsArgs(ctypes.addressof(self.matrix), indices.data_ptr(), out.data_ptr(), len(indices))
        self.library.l4c_rows(ctypes.byref(args))
        return out

    def _multiply(self, x: Tensor, residual: Tensor | None, out: int | None, out_wide: int | None) -> None:
        x = x.contiguous()
        args = _LinearArgs(
            ctypes.addressof(self.matrix),
            x.data_ptr(),
            None if residual is None else residual.data_ptr(),
            out,
            out_wide,
            len(x),
        )
        self.library.l4c_linear(ctypes.byref(args))


@dataclass(frozen=True, slots=True)
class PackedLinear(NativeLinear):
    """In bfloat16; `packed` is `[num_panels, in_features / 2, 32, 2]`, the only copy."""

    @classmethod
    def pack(cls, library: ctypes.CDLL, weight: Tensor, bias: Tensor | None) -> "PackedLinear":
        """Rearrange `weight` `[out_features, in_features]`; in_features must be even."""
        out_features, in_features = weight.shape
        packed = torch.empty(-(-out_features // PANEL), in_features // 2, PANEL, 2, dtype=torch.bfloat16)
        weight = weight.contiguous()
        library.l4c_pack(
            ctypes.c_void_p(weight.data_ptr()),
            ctypes.c_int64(out_features),
            ctypes.c_int64(in_features),
            ctypes.c_void_p(packed.data_ptr()),
        )
        bias_at = None if bias is None else bias.data_ptr()
        matrix = Matrix(packed.data_ptr(), None, bias_at, out_features, in_features, Format.BFLOAT16)
        return cls(library, packed, bias, matrix)
