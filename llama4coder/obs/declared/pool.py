"""The draft pool, as targets and draft replicas see it; a `PoolObserver` and a `DraftObserver`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.declared.buckets import STEP_S
from llama4coder.obs.pool import PoolLookup


class PoolMetrics:
    """The draft pool, as targets and draft replicas see it; a `PoolObserver` and a `DraftObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pool_lookups = Counter(
            "llama4coder_pool_lookups_total",
            "What the draft pool had for rows that asked: a hit, or why there was none",
            ("result",),
            registry=registry,
        )
        for result in PoolLookup:
            self.pool_lookups.labels(result=result.value)
        self.pool_round_trip = Histogram(
            "llama4coder_pool_round_trip_seconds",
            "From news to a draft replica to finding its answer; the engine looks once per step",
            buckets=STEP_S,
            registry=registry,
        )
        self.pool_replicas = Gauge(
            "llama4coder_pool_replicas", "Draft replicas that a target replica knows", registry=registry
        )
        self.pool_ignored_frames = Counter(
            "llama4coder_pool_ignored_frames_total", "Frames that could not be read", registry=registry
        )
        self.pool_round_time = Histogram(
            "llama4coder_pool_round_seconds",
            "One round of a draft replica, for all sequences with news",
            buckets=STEP_S,
            registry=registry,
        )
        self.pool_sessions = Gauge("llama4coder_pool_sessions", "Sequences of a draft replica", registry=registry)

    def on_pool_lookup(self, found: PoolLookup) -> None:
        """Count what was there when a row asked the pool."""
        self.pool_lookups.labels(result=found.value).inc()

    def on_pool_round_trip(self, time_s: float) -> None:
        """Count an answer."""
        self.pool_round_trip.observe(time_s)

    def on_pool_replicas(self, num_replicas: int) -> None:
        """Show how many there are."""
        self.pool_replicas.set(num_replicas)

    def on_pool_frame_ignored(self) -> None:
        """Count a frame that could not be read, on either side."""
        self.pool_ignored_frames.inc()

    def on_draft_round(self, time_s: float) -> None:
        """Count a draft replica's round."""
        self.pool_round_time.observe(time_s)

    def on_draft_sessions(self, num_sessions: int) -> None:
        """Show how many sequences a draft replica has."""
        self.pool_sessions.set(num_sessions)

    def on_draft_frame_ignored(self) -> None:
        """See `on_pool_frame_ignored`."""
        self.pool_ignored_frames.inc()
