"""Requests that wait at a mean replica, first come first served: amounts instead of requests, each with its age."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Cohort:
    """What came in one span."""

    time_s: float
    num_requests: float


@dataclass(frozen=True, slots=True)
class Passed:
    """What a span has come to; requests per second, and seconds that those served have waited on average."""

    served: float
    refused: float
    expired: float
    wait_s: float


class FluidQueue:
    """Takes no more than it has room for, and lets nobody wait for longer than patience lasts."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._cohorts: deque[_Cohort] = deque()

    @property
    def num_waiting(self) -> float:
        return sum(cohort.num_requests for cohort in self._cohorts)

    def advance(self, time_s: float, span_s: float, arriving: float, most_served: float, room: float) -> Passed:
        """A span about `time_s`: `arriving` and `most_served` are per second, `room` is for requests that wait."""
        self._cohorts.append(_Cohort(time_s, arriving * span_s))
        served = waited_s = 0.0
        while self._cohorts and served < most_served * span_s:
            oldest = self._cohorts[0]
            taken = min(oldest.num_requests, most_served * span_s - served)
            served += taken
            waited_s += taken * (time_s - oldest.time_s)
            oldest.num_requests -= taken
            if oldest.num_requests <= 0:
                self._cohorts.popleft()
        expired = self._expire(time_s)
        refused = self._refuse(room)
        return Passed(served / span_s, refused / span_s, expired / span_s, waited_s / served if served else 0.0)

    def _expire(self, time_s: float) -> float:
        expired = 0.0
        while self._cohorts and time_s - self._cohorts[0].time_s >= self._timeout_s:
            expired += self._cohorts.popleft().num_requests
        return expired

    def _refuse(self, room: float) -> float:
        """The youngest are those that found it full."""
        excess = refused = max(0.0, self.num_waiting - room)
        while excess > 0 and self._cohorts:
            youngest = self._cohorts[-1]
            gone = min(excess, youngest.num_requests)
            youngest.num_requests -= gone
            excess -= gone
            if youngest.num_requests <= 0:
                self._cohorts.pop()
        return refused
