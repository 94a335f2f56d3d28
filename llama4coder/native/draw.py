"""Drawing tokens in one pass over the logits, without a logarithm for tokens that cannot win."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.sampling.draw import Drawn, DrawRow


class _DrawArgs(ctypes.Structure):
    """`draw_args` of draw.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("logits", "lowest", "temperatures", "seeds", "positions")),
        *((name, ctypes.c_void_p) for name in ("tokens", "values")),
        *((name, ctypes.c_int64) for name in ("rows", "vocab", "first_token")),
    ]


@dataclass(frozen=True, slots=True)
class NativeDraw:
    """Implements `sampling.draw.TokenDraw`."""

    library: ctypes.CDLL

    def __call__(self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None, first_token: int = 0) -> Drawn:
        """See `TokenDraw`."""
        logits = logits.contiguous()
        temperatures = np.array([0.0 if row.is_greedy else row.temperature for row in rows], dtype=np.float32)
        seeds = np.array([row.key.seed for row in rows], dtype=np.uint64)
        positions = np.array([row.key.position for row in rows], dtype=np.uint64)
        tokens, values = torch.empty(len(rows), dtype=torch.int64), torch.empty(len(rows))
        args = _DrawArgs(
            logits.data_ptr(),
            None if lowest is None else lowest.data_ptr(),
            temperatures.ctypes.data,
            seeds.ctypes.data,
            positions.ctypes.data,
            tokens.data_ptr(),
            values.data_ptr(),
            *logits.shape,
            first_token,
        )
        self.library.l4c_draw(ctypes.byref(args))
        return Drawn(tokens, values)
