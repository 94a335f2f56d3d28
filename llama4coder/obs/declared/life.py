"""Whether replicas are there, and how they came."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.declared.buckets import STEP_S
from llama4coder.obs.replicas import Pool


class LifeMetrics:
    """Whether replicas are there, and how they came."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.replica_ready = Gauge(
            "llama4coder_replica_ready", "1 if a replica can generate, 0 if it has failed", ("pool",), registry=registry
        )
        self.replica_starts = Counter(
            "llama4coder_replica_starts_total", "Replicas that became ready", ("pool",), registry=registry
        )
        self.configured_replicas = Gauge(
            "llama4coder_configured_replicas",
            "Replicas that should be there at least, as an ingress was told",
            ("pool",),
            registry=registry,
        )
        self.startup_time = Gauge(
            "llama4coder_startup_seconds", "Parts of a target replica's start", ("phase",), registry=registry
        )
        self.probe_time = Histogram(
            "llama4coder_engine_probe_seconds",
            "A token through every rank of a replica, asked for by /ready",
            buckets=STEP_S,
            registry=registry,
        )
        self.probe_failures = Counter(
            "llama4coder_engine_probe_failures_total", "Probes that no token came back from", registry=registry
        )

    def on_ready(self, pool: Pool) -> None:
        """Count a replica that has started."""
        self.replica_ready.labels(pool=pool.value).set(1)
        self.replica_starts.labels(pool=pool.value).inc()

    def on_failed(self, pool: Pool) -> None:
        """Show that a replica will generate no more."""
        self.replica_ready.labels(pool=pool.value).set(0)

    def show_configured(self, num_targets: int, num_drafts: int) -> None:
        """Show how many replicas there should be; 0 drafts is none at all."""
        self.configured_replicas.labels(pool=Pool.TARGET.value).set(num_targets)
        if num_drafts:
            self.configured_replicas.labels(pool=Pool.DRAFT.value).set(num_drafts)
