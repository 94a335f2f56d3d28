"""RMS normalisation by the native kernels."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor


class _NormArgs(ctypes.Structure):
    """`norm_args` of elementwise.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "weight", "out")),
        *((name, ctypes.c_int64) for name in ("m", "n")),
        ("eps", ctypes.c_float),
    ]


@dataclass(frozen=True, slots=True)
class NativeNorm:
    """Implements `layers.norm.Norm`."""

    library: ctypes.CDLL
    weight: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        args = _NormArgs(x.data_ptr(), self.weight.data_ptr(), out.data_ptr(), *x.shape, self.eps)
        self.library.l4c_rms_norm(ctypes.byref(args))
        return out
