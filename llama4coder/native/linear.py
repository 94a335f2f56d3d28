"""Matrix products over packed bfloat16 weights."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

PANEL = 32  # output features side by side; see linear.c


class _LinearArgs(ctypes.Structure):
    """`linear_args` of linear.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "packed", "bias", "residual", "out", "out_wide")),
        *((name, ctypes.c_int64) for name in ("m", "n", "k")),
    ]


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """Implements `layers.linear.Linear`; `packed` is `[num_panels, in_features / 2, 32, 2]`, the only copy."""

    library: ctypes.CDLL
    packed: Tensor
    bias: Tensor | None
    out_features: int

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
        return cls(library, packed, bias, out_features)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Linear.__call__`."""
        out = torch.empty(len(x), self.out_features, dtype=torch.bfloat16)
        self._multiply(x, residual, out.data_ptr(), None)
        return out

    def wide(self, x: Tensor) -> Tensor:
        """See `Linear.wide`."""
        out = torch.empty(len(x), self.out_features)
        self._multiply(x, None, None, out.data_ptr())
        return out

    def rows(self, indices: Tensor) -> Tensor:
        """See `Linear.rows`."""
        return self.packed[indices // PANEL, :, indices % PANEL].flatten(1)

    def _multiply(self, x: Tensor, residual: Tensor | None, out: int | None, out_wide: int | None) -> None:
        x = x.contiguous()
        args = _LinearArgs(
            x.data_ptr(),
            self.packed.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            None if residual is None else residual.data_ptr(),
            out,
            out_wide,
            len(x),
            self.out_features,
            x.shape[1],
        )
        self.library.l4c_linear(ctypes.byref(args))
