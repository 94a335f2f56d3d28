"""Tokens that a grammar rules out, of some rows of a step's logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.gpu.transfer import indices, upload
from llama4coder.kv.step_sizing import FILTERED_ROWS

_BYTE_BITS, _WORD_BITS = 8, 32


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """`bits` `[len(rows), num_words]`, int32: bit i % 32 of word i // 32 says whether token i may come in that row."""

    rows: Sequence[int]  # of the logits, ascending
    bits: npt.NDArray[np.int32]

    def apply(self, logits: Tensor, share: slice) -> None:
        """Make the others impossible, in place, in logits `[num_rows, tokens of share]`; does not wait for the device.

        `share` begins at a multiple of 32; tokens behind the masks' end may not come either. In parts, so that what is
        needed beside the logits does not grow with the rows.
        """
        words = self.bits[:, share.start // _WORD_BITS : -(-share.stop // _WORD_BITS)]
        for first in range(0, len(self.rows), FILTERED_ROWS):
            some = slice(first, first + FILTERED_ROWS)
            _rule_out(logits, self.rows[some], _zeros_of(words[some], logits))


def _rule_out(logits: Tensor, rows: Sequence[int], tokens: Tensor) -> None:
    if rows[-1] - rows[0] == len(rows) - 1:
        logits[rows[0] : rows[-1] + 1].masked_fill_(tokens, -torch.inf)
        return
    places = indices(list(rows), logits.device)
    logits.index_copy_(0, places, logits.index_select(0, places).masked_fill_(tokens, -torch.inf))


def _zeros_of(words: npt.NDArray[np.int32], logits: Tensor) -> Tensor:
    """Whether each bit is zero, `[num_rows, width of logits]`; to a GPU only the bits travel."""
    width = logits.shape[1]
    zeros = np.invert(words).view(np.uint8)
    if logits.device.type == "cpu":
        bits = torch.from_numpy(np.unpackbits(zeros, axis=1, bitorder="little").view(np.bool_))
    else:
        shifts = torch.arange(_BYTE_BITS, dtype=torch.uint8, device=logits.device)
        bits = ((upload(zeros, logits.device).unsqueeze(2) >> shifts) & 1).view(torch.bool).flatten(1)
    missing = width - bits.shape[1]
    return bits[:, :width] if missing <= 0 else torch.nn.functional.pad(bits, (0, missing), value=True)
