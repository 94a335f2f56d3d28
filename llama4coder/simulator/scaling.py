"""How many replicas there should be: the seam for autoscaling policies, and two of them."""

import math
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FleetState:
    """What a policy may know."""

    now_s: float
    num_live: int
    num_starting: int
    num_requests: int  # that are out, running or not


class ScalingPolicy(Protocol):
    """Asked again and again; keeps no state that depends on when."""

    def wanted(self, state: FleetState) -> int:
        """Replicas that there should be, those that start included."""
        ...


@dataclass(frozen=True, slots=True)
class FixedScale:
    """Implements `ScalingPolicy`: always as many."""

    num_replicas: int

    def wanted(self, state: FleetState) -> int:
        """See `ScalingPolicy.wanted`."""
        return self.num_replicas


@dataclass(frozen=True, slots=True)
class OngoingRequests:
    """Implements `ScalingPolicy` as Serve's own policy does it: so many requests for each replica."""

    target: float  # requests of one replica
    min_replicas: int
    max_replicas: int

    def wanted(self, state: FleetState) -> int:
        """See `ScalingPolicy.wanted`."""
        return min(self.max_replicas, max(self.min_replicas, math.ceil(state.num_requests / self.target)))
