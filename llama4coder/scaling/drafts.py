"""How many replicas the draft pool should have: none while nobody speculates, or while it does not pay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.pace import SLACK, Pace, keep_pace
from llama4coder.scaling.types import Bounds, Delays, Wish, more_of

_MOST_BUSY = 0.7  # leaves room for rounds to be in time when sequences come in bursts
_MOST_LATE = 0.25
LEAST_GAIN = 1.02  # tokens/s of targets over those that they would have without the pool


@dataclass(frozen=True, slots=True)
class DraftLoad:
    """What one draft replica does, and what its targets say of the pool."""

    busy_share: float = 0.0  # of the time
    num_sessions: float = 0.0
    late_share: float = 0.0  # of the targets' lookups: the answer had not come yet
    gain: float = 0.0  # tokens/s of the targets over those without the pool; 0 where nobody knows


@dataclass(frozen=True, slots=True)
class DraftMoment:
    """What is known at a moment."""

    now_s: float
    num_wanted: int  # by the last decision
    loads: Sequence[DraftLoad]  # of the replicas that run and have said so
    is_called: bool = False  # a target has found none


@dataclass(frozen=True, slots=True)
class DraftState:
    """What is remembered from one moment to the next."""

    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class DraftDecision:
    """How many there should be, and what to remember."""

    num_replicas: int
    state: DraftState


@dataclass(frozen=True, slots=True)
class DraftPolicy:
    """Wants as many replicas as are busy and in time, and no more than there are sequences: each has one replica."""

    bounds: Bounds
    delays: Delays

    def decide(self, state: DraftState, moment: DraftMoment) -> DraftDecision:
        """One moment further; to be asked again and again, as often as anything is news."""
        paced = keep_pace(
            state.pace, moment.num_wanted, _wish(moment, self.bounds.most), moment.now_s, self.bounds, self.delays
        )
        return DraftDecision(paced.num_replicas, DraftState(paced.pace))


def _wish(moment: DraftMoment, most: int) -> Wish:
    num_sessions = math.ceil(sum(load.num_sessions for load in moment.loads))
    if not num_sessions:
        return Wish(1, ScaleReason.CALLED) if moment.is_called else Wish(0, ScaleReason.QUIET)
    busy = Wish(math.ceil(_needed(moment.loads)), ScaleReason.BUSY)
    is_late = _late_share(moment.loads) > _MOST_LATE
    # What comes too late because there is too much to do tells nothing of what guesses are worth.
    is_short = is_late and busy.num_replicas > len(moment.loads) and moment.num_wanted < min(num_sessions, most)
    if 0 < _gain(moment.loads) < LEAST_GAIN and not is_short:
        return Wish(0, ScaleReason.NO_GAIN)
    late = Wish(len(moment.loads) + 1 if is_late else 0, ScaleReason.LATE)
    up = more_of(late, busy, Wish(1, ScaleReason.CALLED))
    if min(up.num_replicas, num_sessions) > moment.num_wanted:
        return Wish(min(up.num_replicas, num_sessions), up.reason)
    least = moment.num_wanted if is_late else max(1, math.ceil(_needed(moment.loads) / SLACK))
    return Wish(min(least, num_sessions, moment.num_wanted), ScaleReason.QUIET)


def _needed(loads: Sequence[DraftLoad]) -> float:
    """Replicas that would have some time left."""
    return sum(load.busy_share for load in loads) / _MOST_BUSY


def _late_share(loads: Sequence[DraftLoad]) -> float:
    """Mean over sequences, of which there are some."""
    return sum(load.num_sessions * load.late_share for load in loads) / sum(load.num_sessions for load in loads)


def _gain(loads: Sequence[DraftLoad]) -> float:
    """Mean over the sequences of replicas whose targets know; 0 if none does."""
    known = [load for load in loads if load.gain > 0 and load.num_sessions > 0]
    num_sessions = sum(load.num_sessions for load in known)
    return sum(load.num_sessions * load.gain for load in known) / num_sessions if known else 0.0
