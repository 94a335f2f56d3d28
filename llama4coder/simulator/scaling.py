"""How many replicas there should be: the seam for policies, the product's own, and two to compare it with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llama4coder.scaling.forecast import Forecast
from llama4coder.scaling.targets import TargetLoad, TargetMoment, TargetPolicy, TargetState

_MONDAY_S = 4 * 86_400.0  # the first one after 1970 began, in UTC: when a simulation begins


@dataclass(frozen=True, slots=True)
class FleetState:
    """What a policy may know."""

    now_s: float
    num_wanted: int  # by what was last decided: live and starting
    num_requests: int  # that are out, running or not
    loads: Sequence[TargetLoad]  # of those that take requests


class Scaling(Protocol):
    """A policy in one simulation: asked again and again, and may remember."""

    @property
    def period_s(self) -> float:
        """How often it is asked."""
        ...

    def wanted(self, state: FleetState) -> int:
        """Replicas that there should be, those that start included."""
        ...


class ScalingPolicy(Protocol):
    """A policy before any simulation; used for several, it knows in none what was in another."""

    @property
    def least(self) -> int:
        """Replicas that there are at the beginning."""
        ...

    def begin(self) -> Scaling:
        """Remembers nothing yet."""
        ...


@dataclass(frozen=True, slots=True)
class FixedScale:
    """Implements `ScalingPolicy` and `Scaling`: always as many."""

    num_replicas: int
    period_s: float = 10.0

    @property
    def least(self) -> int:
        """See `ScalingPolicy.least`."""
        return self.num_replicas

    def begin(self) -> Scaling:
        """See `ScalingPolicy.begin`."""
        return self

    def wanted(self, state: FleetState) -> int:
        """See `Scaling.wanted`."""
        return self.num_replicas


@dataclass(frozen=True, slots=True)
class OngoingRequests:
    """Implements `ScalingPolicy` and `Scaling` as Serve's own policy does it: so many requests for each replica."""

    target: float  # requests of one replica
    min_replicas: int
    max_replicas: int
    period_s: float = 10.0

    @property
    def least(self) -> int:
        """See `ScalingPolicy.least`."""
        return self.min_replicas

    def begin(self) -> Scaling:
        """See `ScalingPolicy.begin`."""
        return self

    def wanted(self, state: FleetState) -> int:
        """See `Scaling.wanted`."""
        return min(self.max_replicas, max(self.min_replicas, math.ceil(state.num_requests / self.target)))


@dataclass(frozen=True, slots=True)
class ProductScale:
    """Implements `ScalingPolicy` by the policy that scales real replicas."""

    policy: TargetPolicy
    forecast: Forecast = field(default_factory=Forecast)
    ahead_s: float = 0.0  # that it is looked up

    @property
    def least(self) -> int:
        """See `ScalingPolicy.least`."""
        return max(self.policy.bounds.least, self.forecast.floor(_MONDAY_S, 0.0))

    def begin(self) -> Scaling:
        """See `ScalingPolicy.begin`."""
        return _ProductScaling(self)


class _ProductScaling:
    """Keeps the policy's state, as Serve does for real replicas."""

    period_s = 1.0

    def __init__(self, scale: ProductScale) -> None:
        self._scale = scale
        self._state = TargetState()

    def wanted(self, state: FleetState) -> int:
        """See `Scaling.wanted`."""
        floor = self._scale.forecast.floor(_MONDAY_S + state.now_s, self._scale.ahead_s)
        moment = TargetMoment(state.now_s, state.num_wanted, state.loads, floor)
        decision = self._scale.policy.decide(self._state, moment)
        self._state = decision.state
        return decision.num_replicas
