"""What does not reach the collector: counted always, told seldom."""

import logging
import time
from collections.abc import Callable
from threading import Lock

from prometheus_client import Counter

_QUIET_S = 60.0

_log = logging.getLogger(__name__)


class Losses:
    """Counts lost spans by why, and logs a failing collector at most once a minute; for any thread."""

    def __init__(self, dropped: Counter, clock: Callable[[], float] = time.monotonic) -> None:
        self._dropped = dropped
        self._clock = clock
        self._lock = Lock()
        self._told_s: float | None = None

    def queue_full(self) -> None:
        """A span found no place: the collector is away, or too slow."""
        self._dropped.labels(reason="queue_full").inc()
        self._tell("spans come faster than they are taken")

    def undelivered(self, num_spans: int) -> None:
        """A batch was given up."""
        self._dropped.labels(reason="undelivered").inc(num_spans)
        self._tell("spans were not taken")

    def report_failed(self) -> None:
        """A report of the histograms was not taken; the next one holds what it held."""
        self._tell("histograms were not taken")

    def _tell(self, what: str) -> None:
        now_s = self._clock()
        with self._lock:
            if self._told_s is not None and now_s - self._told_s < _QUIET_S:
                return
            self._told_s = now_s
        _log.warning("the collector of telemetry.otlp_endpoint is away or refuses: %s", what)
