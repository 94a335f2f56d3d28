"""How replicas end, and what becomes of their requests."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram

from llama4coder.obs.declared.buckets import REQUEST_S


class MigrationOutcome(StrEnum):
    """What became of a request whose replica handed it over before it stopped."""

    CONTINUED = "continued"  # at another replica
    FAILED = "failed"  # none could go on with it, or none came in time


class DrainMetrics:
    """How replicas end, and what becomes of their requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.drain_time = Histogram(
            "llama4coder_drain_seconds",
            "From a target replica's being told to stop to the end of its last request there",
            buckets=REQUEST_S,
            registry=registry,
        )
        self.migrated_requests = Counter(
            "llama4coder_requests_migrated_total",
            "Requests that a stopping target replica handed over unfinished, by what became of them",
            ("outcome",),
            registry=registry,
        )
        for outcome in MigrationOutcome:
            self.migrated_requests.labels(outcome=outcome.value)

    def on_migrated(self, outcome: MigrationOutcome) -> None:
        """Count a request that was handed over."""
        self.migrated_requests.labels(outcome=outcome.value).inc()
