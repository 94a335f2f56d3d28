"""How a fleet was at moments of a simulation."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Moment:
    """Counts over all replicas."""

    time_s: float
    num_live: int
    num_running: int
    num_waiting: int
    num_tokens: int  # of output, since the beginning
    num_drafting: int = 0  # replicas of the draft pool


@dataclass(slots=True)
class Timeline:
    """Moments, the oldest first."""

    moments: list[Moment] = field(default_factory=list)

    def add(self, moment: Moment) -> None:
        self.moments.append(moment)
