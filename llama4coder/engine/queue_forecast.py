"""When a place in the queue might be had: what `Retry-After` says."""

_DECAY = 0.9  # per admission: the last ten count
_PRIOR_INTERVAL_S = 1.0  # before the first admission from a queue
_MIN_S = 1.0
_MAX_S = 600.0


class QueueForecast:
    """The time between two admissions while somebody waits, as a decayed mean; no clock of its own."""

    def __init__(self) -> None:
        self._interval_s = _PRIOR_INTERVAL_S
        self._waiting_since_s: float | None = None  # or since the last admission; None while nobody waits

    def observe(self, now_s: float, num_admitted: int, num_waiting: int) -> None:
        """Note what the last step admitted, and how many it left waiting."""
        if num_admitted and self._waiting_since_s is not None:
            interval_s = (now_s - self._waiting_since_s) / num_admitted
            self._interval_s += (1.0 - _DECAY**num_admitted) * (interval_s - self._interval_s)
        if not num_waiting:
            self._waiting_since_s = None
        elif num_admitted or self._waiting_since_s is None:
            self._waiting_since_s = now_s

    def retry_after_s(self, num_ahead: int) -> float:
        """How long so many admissions are likely to take, from one second to ten minutes."""
        return min(_MAX_S, max(_MIN_S, num_ahead * self._interval_s))
