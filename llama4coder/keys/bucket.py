"""A limit per minute, as a bucket that fills at a steady rate."""

from collections.abc import Callable

_SECONDS = 60.0


class TokenBucket:
    """Holds a minute's worth at most; what is taken beyond its content is a debt that must be filled up first.

    So a request may cost more than is known when it begins, and the next ones wait for it.
    """

    def __init__(self, per_min: float, clock_s: Callable[[], float]) -> None:
        self.per_min = per_min
        self._clock_s = clock_s
        self._level = per_min
        self._since_s = clock_s()

    @property
    def level(self) -> float:
        """What may be taken now; below zero: a debt."""
        now_s = self._clock_s()
        self._level = min(self.per_min, self._level + (now_s - self._since_s) * self.per_min / _SECONDS)
        self._since_s = now_s
        return self._level

    def take(self, amount: float) -> None:
        """Take something, be there as much or not."""
        self._level = self.level - amount

    def wait_s(self, level: float) -> float:
        """How long until it holds `level`, if nothing is taken."""
        return max(0.0, (level - self.level) * _SECONDS / self.per_min)
