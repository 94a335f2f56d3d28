"""Matrix products over packed bfloat16 weights."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

PANEL = 32  # output features side by side; see linear.c


class Matrix(ctypes.Structure):
    """`matrix` of linear.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("packed", "bias")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
    ]


class _LinearArgs(ctypes.Structure):
    """`linear_args` of linear.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("w", "x", "residual", "out", "out_wide")),
        ("m", ctypes.c_int64),
    ]


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, in_features / 2, 32, 2]`, the only copy."""

    library: ctypes.CDLL
    packed: Tensor
    bias: Tensor | None
    matrix: Matrix  # of the two

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
        matrix = Matrix(packed.data_ptr(), None if bias is None else bias.data_ptr(), out_features, in_features)
        return cls(library, packed, bias, matrix)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Linear.__call__`."""
        out = torch.empty(len(x), self.matrix.n, dtype=torch.bfloat16)
        self._multiply(x, residual, out.data_ptr(), None)
        return out

    def wide(self, x: Tensor) -> Tensor:
        """See `Linear.wide`."""
        out = torch.empty(len(x), self.matrix.n)
        self._multiply(x, None, None, out.data_ptr())
        return out

    def rows(self, indices: Tensor) -> Tensor:
        """See `Linear.rows`."""
        return self.packed[indices // PANEL, :, indices % PANEL].flatten(1)

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
