"""How many guesses of each row a step should check: expected tokens over predicted time, as large as can be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

_MIN_SPEEDUP = 1.02
"""Less is not worth the guesses: predictions are no better than that."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Guesses per row, and how much faster than plain decoding the step is expected to be; 1 for no guesses."""

    of_rows: tuple[int, ...]
    speedup: float


def choose_lengths(gains: Sequence[Sequence[float]], num_rows: int, times_s: NDArray[np.float64]) -> Lengths:
    """The best lengths for a step of `num_rows` rows, of which those with `gains` have guesses.

    `gains[i][j]` is what guess j of row i adds to the expected tokens; never rising within a row, so the best n guesses
    are the n largest gains. `times_s[n]` is the step's time with n guesses; any shape will do.
    """
    ranked = sorted(((gain, row) for row, of_row in enumerate(gains) for gain in of_row), reverse=True)
    expected = np.fromiter(accumulate((gain for gain, _ in ranked), initial=float(num_rows)), np.float64)
    speedups = expected / times_s[: len(expected)] * times_s[0] / num_rows
    best = int(np.argmax(speedups))
    if speedups[best] < _MIN_SPEEDUP:
        return Lengths((0,) * len(gains), 1.0)
    counts = Counter(row for _, row in ranked[:best])
    return Lengths(tuple(counts[row] for row in range(len(gains))), float(speedups[best]))
