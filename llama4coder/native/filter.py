"""Thresholds of top-k, top-p and min-p in linear time."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.sampling.filters import FilterRow


class _FilterArgs(ctypes.Structure):
    """`filter_args` of filter.c."""

    _fields_ = [
        *(
            (name, ctypes.c_void_p)
            for name in ("logits", "temperatures", "top_p", "min_p", "top_k", "lowest", "scratch")
        ),
        *((name, ctypes.c_int64) for name in ("rows", "vocab")),
    ]


@dataclass(frozen=True, slots=True)
class NativeFilter:
    """Implements `sampling.filters.TokenFilter`."""

    library: ctypes.CDLL

    def __call__(self, logits: Tensor, rows: Sequence[FilterRow]) -> Tensor:
        """See `TokenFilter`."""
        logits = logits.contiguous()
        temperatures = np.array([row.temperature for row in rows], dtype=np.float32)
        top_p = np.array([row.top_p for row in rows], dtype=np.float32)
        min_p = np.array([row.min_p for row in rows], dtype=np.float32)
        top_k = np.array([row.top_k for row in rows], dtype=np.int64)
        lowest = torch.empty(len(rows))
        scratch = torch.empty(len(rows), 2, -(-logits.shape[1] // 16) * 16)
        args = _FilterArgs(
            logits.data_ptr(),
            temperatures.ctypes.data,
            top_p.ctypes.data,
            min_p.ctypes.data,
            top_k.ctypes.data,
            lowest.data_ptr(),
            scratch.data_ptr(),
            *logits.shape,
        )
        self.library.l4c_filter(ctypes.byref(args))
        return lowest
