"""Which tokens may come at each of the places that a step samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llguidance import LLExecutor

from llama4coder.constraint.matcher import OutputMatcher

Bits = npt.NDArray[np.int32]
"""`[num_places, num_words]`: bit i % 32 of word i // 32 says whether token i may come."""

_EVERYTHING = -1
_WORD_BYTES = 4


@dataclass(frozen=True, slots=True)
class MaskedRow:
    """One output, which samples once after its known tokens and once after each of the guesses."""

    matcher: OutputMatcher
    guesses: Sequence[int] = ()


class MaskMaker:
    """Fills masks on so many threads."""

    def __init__(self, num_words: int, num_threads: int) -> None:
        self._num_words = num_words
        self._threads = LLExecutor(num_threads)

    def masks(self, rows: Sequence[MaskedRow]) -> Bits:
        """The places of each row, one row after the other; the matchers stay where they are.

        Places behind a guess that cannot come allow everything: what is sampled there never counts.
        """
        ends = np.cumsum([1 + len(row.guesses) for row in rows])
        places = [int(end) - 1 - len(row.guesses) for end, row in zip(ends, rows, strict=True)]
        bits = np.full((int(ends[-1]), self._num_words), _EVERYTHING, dtype=np.int32)
        memory = (bits.ctypes.data, self._num_words * _WORD_BYTES, len(bits))
        placed = list(zip(rows, places, strict=True))
        plain = [(row.matcher.parser, place) for row, place in placed if not row.guesses]
        guessed = [(row.matcher.parser, place, list(row.guesses)) for row, place in placed if row.guesses]
        if plain:
            self._threads.unsafe_compute_mask_ptr(plain, *memory)
        if guessed:
            self._threads.unsafe_compute_mask_ptr_with_draft_token(guessed, *memory)
        return bits
