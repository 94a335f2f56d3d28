"""How long a step takes by the tokens that it computes; learned from the steps themselves, with no clock of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXACT = 16  # sizes up to this are told apart, larger ones to an eighth or better
_FALL, _RISE = 0.5, 0.1  # weights of a new time: whatever disturbs a step makes it slower, never faster
_SHORTEST_S = 1e-6  # less is the clock's fault
_STEPS_PER_SIGHT, _MAX_SIGHTS = 32, 16  # for how many steps a size is remembered that was seen so often


def unpadded(num_tokens: int) -> int:
    """A step computes as many tokens as it has."""
    return num_tokens


@dataclass(slots=True)
class _Entry:
    num_tokens: float  # of steps of about this size
    time_s: float
    num_seen: int
    last_step: int

    def is_stale(self, step: int) -> bool:
        return step - self.last_step > _STEPS_PER_SIGHT * min(self.num_seen, _MAX_SIGHTS)


class StepTimes:
    """A table of times that never fall as steps grow; between known sizes they are interpolated.

    Where steps are padded to certain sizes, `padded` says to which, and the table is a staircase. What lies beyond the
    known sizes is tried little by little. What was seen once, perhaps at a bad moment, is soon forgotten, and tried
    again.
    """

    def __init__(self, padded: Callable[[int], int] = unpadded) -> None:
        self._padded = padded
        self._entries: dict[int, _Entry] = {}
        self._num_steps = 0

    def observe(self, num_tokens: int, time_s: float) -> None:
        """A step of so many tokens took so long."""
        self._num_steps += 1
        self._entries = {size: entry for size, entry in self._entries.items() if not entry.is_stale(self._num_steps)}
        size, time_s = self._padded(num_tokens), max(time_s, _SHORTEST_S)
        entry = self._entries.setdefault(_rounded(size), _Entry(size, time_s, 0, 0))
        weight = _FALL if time_s < entry.time_s else _RISE
        entry.num_tokens += weight * (size - entry.num_tokens)
        entry.time_s += weight * (time_s - entry.time_s)
        entry.num_seen += 1
        entry.last_step = self._num_steps

    def predict(self, num_tokens: int, max_extra: int) -> NDArray[np.float64]:
        """Times of steps of `num_tokens` + 0, 1, ..., `max_extra` tokens in s; infinite where none should be tried.

        As long as there is no time at all, those that may be tried take 1 s.
        """
        sizes = np.array([self._padded(num_tokens + extra) for extra in range(max_extra + 1)])
        entries = [entry for _, entry in sorted(self._entries.items())] or [_Entry(float(sizes[0]), 1.0, 0, 0)]
        known, times_s = [entry.num_tokens for entry in entries], _rising([entry.time_s for entry in entries])
        limit = _next_to_try(max(known[-1], sizes[0]))
        if len(known) > 1:
            known, times_s = _extended(known, times_s, limit)
        return np.where(sizes <= limit, np.interp(sizes, known, times_s), np.inf)


def _next_to_try(size: float) -> float:
    return size + size // 4 + 1


def _extended(sizes: Sequence[float], times_s: Sequence[float], limit: float) -> tuple[list[float], list[float]]:
    """The table from one token to `limit`: at its ends the lines through the last two points go on."""
    first_slope_s = (times_s[1] - times_s[0]) / (sizes[1] - sizes[0])
    last_slope_s = (times_s[-1] - times_s[-2]) / (sizes[-1] - sizes[-2])
    one_s = max(times_s[0] - first_slope_s * (sizes[0] - 1), times_s[0] / sizes[0])
    limit_s = times_s[-1] + last_slope_s * (limit - sizes[-1])
    return [1, *sizes, limit], [one_s, *times_s, limit_s]


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
