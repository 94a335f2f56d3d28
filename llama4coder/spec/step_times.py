"""How long a step takes by the tokens that it computes; learned from the steps themselves, with no clock of its own."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_EXACT = 16  # sizes up to this are told apart, larger ones to an eighth or better
_FALL, _RISE = 0.5, 0.1  # weights of a new time: whatever disturbs a step makes it slower, never faster
_SHORTEST_S = 1e-6  # less is the clock's fault
_EXPLORED = 2  # times the largest size known may be tried


def unpadded(num_tokens: int) -> int:
    """A step computes as many tokens as it has."""
    return num_tokens


class StepTimes:
    """A table of times that never fall as steps grow; between known sizes they are interpolated.

    Where steps are padded to certain sizes, `padded` says to which, and the table is a staircase. Sizes that are far
    from any known one are never worth a try, so what is unknown is explored by doubling.
    """

    def __init__(self, padded: Callable[[int], int] = unpadded) -> None:
        self._padded = padded
        self._time_s: dict[int, float] = {}

    def observe(self, num_tokens: int, time_s: float) -> None:
        """A step of so many tokens took so long."""
        size = _rounded(self._padded(num_tokens))
        time_s = max(time_s, _SHORTEST_S)
        known_s = self._time_s.get(size, time_s)
        weight = _FALL if time_s < known_s else _RISE
        self._time_s[size] = known_s + weight * (time_s - known_s)

    def predict(self, num_tokens: int, max_extra: int) -> NDArray[np.float64]:
        """Times of steps of `num_tokens` + 0, 1, ..., `max_extra` tokens in s; infinite where nothing is known.

        As long as there is no time at all, those that may be tried take 1 s.
        """
        sizes = np.array([self._padded(num_tokens + extra) for extra in range(max_extra + 1)])
        known, times_s = self._table()
        limit = _EXPLORED * max([int(sizes[0]), *known])
        if not known:
            return np.where(sizes <= limit, 1.0, np.inf)
        return np.where(sizes <= limit, np.interp(sizes, known, times_s), np.inf)

    def _table(self) -> tuple[list[int], list[float]]:
        """Known sizes and their times, rising both; below the smallest the line through the first two goes on."""
        known = sorted(self._time_s)
        times_s = _rising([self._time_s[size] for size in known])
        if len(known) < 2 or known[0] == 1:
            return known, times_s
        slope_s = (times_s[1] - times_s[0]) / (known[1] - known[0])
        one_s = max(times_s[0] - slope_s * (known[0] - 1), times_s[0] / known[0])
        return [1, *known], [one_s, *times_s]


def _rounded(size: int) -> int:
    """Up to the next of eight steps between powers of two."""
    step = max(1, 1 << (size - 1).bit_length() >> 4) if size > _EXACT else 1
    return -(-size // step) * step


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest sequence that never falls: neighbours that are out of order take their mean."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while blocks and blocks[-1][0] > mean:
            before, num_before = blocks.pop()
            mean = (mean * count + before * num_before) / (count + num_before)
            count += num_before
        blocks.append((mean, count))
    return [mean for mean, count in blocks for _ in range(count)]
