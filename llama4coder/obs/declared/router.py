"""Where requests go; a `RoutingObserver`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.declared.buckets import ROUTING_S
from llama4coder.obs.routing import RouteReason


class RouterMetrics:
    """Where requests go; a `RoutingObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.route_decisions = Counter(
            "llama4coder_route_decisions_total",
            "Requests sent to a target replica, by why to that one",
            ("reason",),
            registry=registry,
        )
        self.routing_overhead = Histogram(
            "llama4coder_routing_overhead_seconds",
            "Choosing a target replica",
            buckets=ROUTING_S,
            registry=registry,
        )
        self.prefix_hit_predicted_tokens = Counter(
            "llama4coder_prefix_hit_predicted_tokens_total",
            "Prompt tokens that the router believed to be cached where it sent them",
            registry=registry,
        )
        self.prefix_hit_actual_tokens = Counter(
            "llama4coder_prefix_hit_actual_tokens_total",
            "Prompt tokens of the same requests that were cached there",
            registry=registry,
        )
        self.route_report_age = Gauge(
            "llama4coder_route_report_age_seconds",
            "Age of the oldest report of a target replica when a request was last sent to one",
            registry=registry,
        )

    def on_route(self, reason: RouteReason, num_cached_tokens: int, overhead_s: float, report_age_s: float) -> None:
        """Count a request that was given a replica."""
        self.route_decisions.labels(reason=reason.value).inc()
        self.prefix_hit_predicted_tokens.inc(num_cached_tokens)
        self.routing_overhead.observe(overhead_s)
        self.route_report_age.set(report_age_s)

    def on_prefix(self, num_cached_tokens: int) -> None:
        """Count what a request found cached."""
        self.prefix_hit_actual_tokens.inc(num_cached_tokens)
