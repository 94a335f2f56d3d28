"""What a router tells whoever watches it; numbers only."""

from enum import StrEnum
from typing import Protocol


class RouteReason(StrEnum):
    """Why a request went to the replica that it went to."""

    PREFIX = "prefix"  # more of its prompt is cached there than elsewhere
    LOAD = "load"  # there was the least to do
    TURN = "turn"  # it was its turn
    ONLY = "only"  # no other could be considered
    UNKNOWN = "unknown"  # nothing was known of any replica: Serve chose


class RoutingObserver(Protocol):
    """Called in the event loop of an ingress; must be quick and must not raise."""

    def on_route(self, reason: RouteReason, num_cached_tokens: int, overhead_s: float, report_age_s: float) -> None:
        """A request was sent to a replica that should have so many of its tokens cached.

        `overhead_s` is what choosing took; `report_age_s` is how long ago that replica reported that has been silent
        for longest, which keeps it from being chosen.
        """
        ...

    def on_prefix(self, num_cached_tokens: int) -> None:
        """A request has begun, and so many of its tokens were cached."""
        ...


class NullRoutingObserver:
    """Looks away; implements `RoutingObserver`."""

    def on_route(self, reason: RouteReason, num_cached_tokens: int, overhead_s: float, report_age_s: float) -> None:
        pass

    def on_prefix(self, num_cached_tokens: int) -> None:
        pass
