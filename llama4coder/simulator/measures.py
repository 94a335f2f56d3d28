"""What is kept of every request, and of the gaps between tokens."""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class End(StrEnum):
    """How a request ended; each does once."""

    DONE = "done"
    REFUSED = "refused"  # queues were full
    EXPIRED = "expired"  # it had waited too long
    TOO_LONG = "too long"  # for the context, or the blocks of a replica
    ABANDONED = "abandoned"  # its replica was lost, and no other took over in time
    UNFINISHED = "unfinished"  # the simulation was interrupted


@dataclass(frozen=True, slots=True)
class Ended:
    """One request."""

    kind: str
    end: End
    arrival_s: float
    first_s: float | None  # since its arrival
    total_s: float
    num_prompt: int
    num_cached: int
    num_output: int
    num_lost: int  # replicas under it

    @property
    def token_s(self) -> float | None:
        """Mean time between its tokens; None where there are fewer than two."""
        if self.first_s is None or self.num_output < 2:
            return None
        return (self.total_s - self.first_s) / (self.num_output - 1)


class Durations:
    """A histogram of durations from 10 us to a day, each known to 1 %."""

    _LOWEST_S, _STEP = 1e-5, math.log(1.01)

    def __init__(self) -> None:
        self._counts = array("q", [0] * 2400)
        self.total = 0

    def add(self, duration_s: float, count: int = 1) -> None:
        place = int(math.log(max(duration_s, self._LOWEST_S) / self._LOWEST_S) / self._STEP)
        self._counts[min(place, len(self._counts) - 1)] += count
        self.total += count

    def quantile(self, share: float) -> float:
        """The duration that such a share does not exceed; 0 where there is none."""
        left = share * self.total
        for place, count in enumerate(self._counts):
            left -= count
            if count and left <= 0:
                return self._LOWEST_S * math.exp((place + 0.5) * self._STEP)
        return 0.0


@dataclass(slots=True)
class Measures:
    """Filled while a simulation runs; what arrives before `warmup_s` is served and not counted."""

    warmup_s: float = 0.0
    requests: list[Ended] = field(default_factory=list)
    gaps: Durations = field(default_factory=Durations)
    num_drafted: int = 0
    num_accepted: int = 0
    num_preemptions: int = 0
    num_recomputed_tokens: int = 0
    num_host_tokens: int = 0  # that came back from host memory
    num_recoveries: int = 0  # of requests that lost their replica
    num_failures: int = 0  # of replicas
    num_restarts: int = 0
    gpu_s: float = 0.0  # of targets
    draft_gpu_s: float = 0.0  # of the draft pool
    steps: int = 0
    busy_s: float = 0.0
    live_s: float = 0.0
    report_bytes: int = 0
    num_reports: int = 0

    def counted(self) -> Iterator[Ended]:
        """Requests since the warm-up."""
        return (one for one in self.requests if one.arrival_s >= self.warmup_s)
