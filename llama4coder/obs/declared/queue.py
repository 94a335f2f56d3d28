"""Who waits for an engine, and for how long."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.declared.buckets import FIRST_TOKEN_S
from llama4coder.obs.stats import EngineStats
from llama4coder.types import Priority


class QueueMetrics:
    """Who waits for an engine, and for how long."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running_requests = Gauge("llama4coder_running_requests", "Sequences being generated", registry=registry)
        self.queue_depth_requests = Gauge(
            "llama4coder_queue_depth_requests", "Sequences waiting for admission", ("priority",), registry=registry
        )
        self.queue_depth_tokens = Gauge(
            "llama4coder_queue_depth_tokens", "Prompt tokens waiting for admission", registry=registry
        )
        self.queue_time = Histogram(
            "llama4coder_queue_time_seconds", "Waiting for admission", buckets=FIRST_TOKEN_S, registry=registry
        )
        self.input_tokens = Counter("llama4coder_input_tokens_total", "Prompt tokens admitted", registry=registry)
        self.cached_input_tokens = Counter(
            "llama4coder_cached_input_tokens_total", "Prompt tokens taken from the prefix cache", registry=registry
        )
        self.host_input_tokens = Counter(
            "llama4coder_host_input_tokens_total",
            "Prompt tokens taken from the prefix cache that lay in host memory",
            registry=registry,
        )
        self.preemptions = Counter(
            "llama4coder_preemptions_total",
            "Sequences sent back to the queue, by what came of it: when they returned most of their tokens were found, "
            "or most were to be computed again, or they were aborted before",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("restored", "recomputed", "abandoned"):
            self.preemptions.labels(outcome=outcome)
        self.readmitted_tokens = Counter(
            "llama4coder_readmitted_tokens_total",
            "Tokens that preempted sequences had computed: found again when they returned, or not",
            ("source",),
            registry=registry,
        )
        for source in ("restored", "recomputed"):
            self.readmitted_tokens.labels(source=source)

    def on_admitted(
        self, queue_time_s: float, num_prompt_tokens: int, num_cached_tokens: int, num_host_tokens: int
    ) -> None:
        """Count a request that left the queue."""
        self.queue_time.observe(queue_time_s)
        self.input_tokens.inc(num_prompt_tokens)
        self.cached_input_tokens.inc(num_cached_tokens)
        self.host_input_tokens.inc(num_host_tokens)

    def on_readmitted(self, num_restored_tokens: int, num_recomputed_tokens: int) -> None:
        """Count a preemption by what came of it."""
        outcome = "recomputed" if num_recomputed_tokens > num_restored_tokens else "restored"
        self.preemptions.labels(outcome=outcome).inc()
        self.readmitted_tokens.labels(source="restored").inc(num_restored_tokens)
        self.readmitted_tokens.labels(source="recomputed").inc(num_recomputed_tokens)

    def on_abandoned(self) -> None:
        """Count a preemption whose request was aborted before it ran again."""
        self.preemptions.labels(outcome="abandoned").inc()

    def show_queue(self, state: EngineStats) -> None:
        """Show the queue as it is now."""
        self.running_requests.set(state.num_running)
        num_interactive = state.num_waiting - state.num_waiting_batch
        self.queue_depth_requests.labels(priority=Priority.INTERACTIVE.value).set(num_interactive)
        self.queue_depth_requests.labels(priority=Priority.BATCH.value).set(state.num_waiting_batch)
        self.queue_depth_tokens.set(state.num_waiting_tokens)
