"""How many replicas there are, should be, and why; fed by `cluster.scaling_watch`."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge

from llama4coder.obs.replicas import Pool
from llama4coder.obs.scaling import ScaleReason, Unplaced


class ScalingMetrics:
    """How many replicas there are, should be, and why; fed by `cluster.scaling_watch`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wanted_replicas = Gauge(
            "llama4coder_wanted_replicas", "Replicas that there should be, by pool", ("pool",), registry=registry
        )
        self.running_replicas = Gauge(
            "llama4coder_running_replicas", "Replicas that take requests, by pool", ("pool",), registry=registry
        )
        self.scaling_reason = Gauge(
            "llama4coder_scaling_reason",
            "1 for what the last change of a pool's number of replicas came from",
            ("pool", "reason"),
            registry=registry,
        )

        self.unplaced_replicas = Gauge(
            "llama4coder_unplaced_replicas",
            "Replicas that cannot start for want of room, by deployment and the resource that is missing",
            ("deployment", "resource"),
            registry=registry,
        )

    def on_replicas(self, pool: Pool, num_wanted: int, num_running: int) -> None:
        """Show how many there should be, and are."""
        self.wanted_replicas.labels(pool=pool.value).set(num_wanted)
        self.running_replicas.labels(pool=pool.value).set(num_running)

    def on_reason(self, pool: Pool, last: ScaleReason) -> None:
        """Show why their number has last changed."""
        for reason in ScaleReason:
            self.scaling_reason.labels(pool=pool.value, reason=reason.value).set(reason is last)

    def on_unplaced(self, found: Iterable[Unplaced]) -> None:
        """Show all that there are now."""
        self.unplaced_replicas.clear()
        for one in found:
            self.unplaced_replicas.labels(deployment=one.deployment, resource=one.resource).set(one.num_replicas)
