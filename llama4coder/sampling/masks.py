"""Tokens that a grammar rules out, of some rows of a step's logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.gpu.transfer import indices, upload
from llama4coder.kv.step_sizing import FILTERED_ROWS

_WORD_BITS = 32
_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_PENALTIES = np.where(_BITS_OF_BYTE == 1, 0.0, -np.inf).astype(np.float32)  # [256, 8]


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """`bits` `[len(rows), num_words]`, int32: bit i % 32 of word i // 32 says whether token i may come in that row."""

    rows: Sequence[int]  # of the logits, ascending
    bits: npt.NDArray[np.int32]

    def applied(self, logits: Tensor, share: slice) -> Tensor:
        """A copy of logits `[num_rows, tokens of share]` where the others are impossible; does not wait for the device.

        `share` begins at a multiple of 32; tokens behind the masks' end may not come either. In parts, so that what is
        needed beside the logits does not grow with the rows.
        """
        held = torch.empty_like(logits) if len(self.rows) == len(logits) else logits.clone()
        words = self.bits[:, share.start // _WORD_BITS : -(-share.stop // _WORD_BITS)]
        for first in range(0, len(self.rows), FILTERED_ROWS):
            rows = self.rows[first : first + FILTERED_ROWS]
            penalties = _penalties_of(words[first : first + FILTERED_ROWS], logits)
            if rows[-1] - rows[0] == len(rows) - 1:
                some = slice(rows[0], rows[-1] + 1)
                torch.add(logits[some], penalties, out=held[some])
            else:
                held.index_add_(0, indices(list(rows), logits.device), penalties)
        return held


def _penalties_of(words: npt.NDArray[np.int32], logits: Tensor) -> Tensor:
    """0 for each bit that is set and -inf for the others, `[num_rows, width of logits]`; only bits travel to a GPU.

    By a table of what a byte stands for: on a CPU filling by a mask of booleans takes five times as long.
    """
    width = logits.shape[1]
    values = upload(words.view(np.uint8).astype(np.int32), logits.device)
    penalties = torch.nn.functional.embedding(values, upload(_PENALTIES, logits.device)).flatten(1)
    missing = width - penalties.shape[1]
    if missing <= 0:
        return penalties[:, :width]
    return torch.nn.functional.pad(penalties, (0, missing), value=-torch.inf)
