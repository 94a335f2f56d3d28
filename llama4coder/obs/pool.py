"""What both sides of the draft pool tell whoever watches them; numbers only."""

from enum import StrEnum
from typing import Protocol


class PoolLookup(StrEnum):
    """What a target found when it asked for a draft: one, or why there was none."""

    HIT = "hit"
    MISS = "miss"  # the drafter had answered in time, and had not foreseen this outcome
    LATE = "late"  # its answer to the latest tokens had not come
    OPENING = "opening"  # it has not answered since it was told of the sequence
    NO_REPLICA = "no_replica"  # the pool is empty, or every replica of it is silent, draining or useless


class PoolObserver(Protocol):
    """Called in the engine's thread; must be quick and must not raise."""

    def on_pool_lookup(self, found: PoolLookup) -> None: ...

    def on_pool_round_trip(self, time_s: float) -> None:
        """From sending news to finding the answer; the engine looks once per step, so this is what it took at most."""
        ...

    def on_pool_replicas(self, num_replicas: int) -> None: ...

    def on_pool_frame_ignored(self) -> None: ...


class DraftObserver(Protocol):
    """Called in the thread of a draft replica; must be quick and must not raise."""

    def on_draft_round(self, time_s: float) -> None:
        """One round for all sequences that had news."""
        ...

    def on_draft_sessions(self, num_sessions: int) -> None: ...

    def on_draft_frame_ignored(self) -> None: ...


class NullPoolObserver:
    """Looks away; implements `PoolObserver` and `DraftObserver`."""

    def on_pool_lookup(self, found: PoolLookup) -> None:
        pass

    def on_pool_round_trip(self, time_s: float) -> None:
        pass

    def on_pool_replicas(self, num_replicas: int) -> None:
        pass

    def on_pool_frame_ignored(self) -> None:
        pass

    def on_draft_round(self, time_s: float) -> None:
        pass

    def on_draft_sessions(self, num_sessions: int) -> None:
        pass

    def on_draft_frame_ignored(self) -> None:
        pass
