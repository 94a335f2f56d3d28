"""What happens next: the clock of a simulation, and the clock of an engine in it."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    time_s: float
    number: int  # of two at the same time the one that was noted first
    action: Callable[[], None] = field(compare=False)


class Agenda:
    """Actions in the order of their times; each may note further ones."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._entries: list[_Entry] = []
        self._num_noted = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Note an action for a time, or for now if that is past."""
        self._num_noted += 1
        heapq.heappush(self._entries, _Entry(max(time_s, self.now_s), self._num_noted, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Note an action for so much later."""
        self.at(self.now_s + delay_s, action)

    def advance(self) -> bool:
        """Jump to the next action and do it; False if there is none."""
        if not self._entries:
            return False
        entry = heapq.heappop(self._entries)
        self.now_s = entry.time_s
        entry.action()
        return True


class EngineClock:
    """What an engine takes for `time.monotonic`: while it waits for a rank, its clock runs ahead of the agenda's."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance_to(self, time_s: float) -> None:
        """Wait; nothing if that is past."""
        self.now_s = max(self.now_s, time_s)
