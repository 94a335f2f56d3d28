"""Drawing tokens on the GPU: noise, threshold and argmax in one pass over the logits.

One program takes the tokens of `_PHILOX_BLOCKS` blocks of the generator (`sampling.noise` defines it) and finds their
best; a second kernel finds the best of these. Nothing as large as the logits is written.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import triton
from torch import Tensor

from llama4coder.gpu.draw_kernels import best_of_parts_kernel, best_of_row_kernel
from llama4coder.gpu.transfer import upload
from llama4coder.sampling.draw import Drawn, DrawRow

_PHILOX_BLOCKS = 256  # of 4 tokens each, per program
_ROW_WORDS = 5  # of a row's key and temperature, as the kernel reads them


class TritonDraw:
    """Implements `sampling.draw.TokenDraw` on a GPU."""

    def __call__(self, logits: Tensor, rows: Sequence[DrawRow], lowest: Tensor | None, first_token: int = 0) -> Drawn:
        """See `TokenDraw`."""
        num_rows, vocab_size = logits.shape
        assert logits.stride(1) == 1, "a row's logits lie side by side"
        num_parts = triton.cdiv(vocab_size, 4 * _PHILOX_BLOCKS)
        values = torch.empty(num_rows, num_parts, device=logits.device)
        tokens = torch.empty(num_rows, num_parts, dtype=torch.int32, device=logits.device)
        chosen = Drawn(
            torch.empty(num_rows, dtype=torch.int64, device=logits.device), torch.empty(num_rows, device=logits.device)
        )
        best_of_parts_kernel[num_rows, num_parts](
            logits,
            upload(_row_words(rows), logits.device),
            logits if lowest is None else lowest.contiguous(),
            values,
            tokens,
            logits.stride(0),
            vocab_size,
            first_token // 4,
            HAS_LOWEST=lowest is not None,
            ROW_WORDS=_ROW_WORDS,
            NUM_BLOCKS=_PHILOX_BLOCKS,
        )
        width = triton.next_power_of_2(num_parts)
        results = (chosen.token_ids, chosen.values)
        best_of_row_kernel[num_rows,](
            values, tokens, *results, first_token, vocab_size, num_parts, WIDTH=width, num_warps=1
        )
        return chosen


def _row_words(rows: Sequence[DrawRow]) -> npt.NDArray[np.int32]:
    """Seed and position in halves, and the bits of the temperature, which is zero in greedy rows."""
    words = np.empty((len(rows), _ROW_WORDS), dtype=np.uint32)
    for line, row in zip(words, rows, strict=True):
        seed, position = row.key.seed, row.key.position
        line[:4] = (seed & 0xFFFFFFFF, seed >> 32, position & 0xFFFFFFFF, position >> 32)
    words.view(np.float32)[:, 4] = [0.0 if row.is_greedy else row.temperature for row in rows]
    return words.view(np.int32)
