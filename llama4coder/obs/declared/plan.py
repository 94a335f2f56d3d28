"""What was planned, to stand beside what is."""

from prometheus_client import CollectorRegistry, Gauge

from llama4coder.config import PlanConfig
from llama4coder.obs.replicas import Pool


class PlanMetrics:
    """What was planned, to stand beside what is; all zero where there is no plan."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.planned_replicas = Gauge(
            "llama4coder_planned_replicas", "Replicas that the plan has", ("pool",), registry=registry
        )
        self.planned_requests = Gauge(
            "llama4coder_planned_requests_per_second", "Requests/s that the plan was made for", registry=registry
        )
        self.planned_max_requests = Gauge(
            "llama4coder_planned_max_requests_per_second",
            "Requests/s that the planned target replicas carry at most",
            registry=registry,
        )
        self.planned_output_tokens = Gauge(
            "llama4coder_planned_output_tokens_per_second",
            "Output tokens/s of the load that the plan was made for",
            registry=registry,
        )
        self.planned_sequences = Gauge(
            "llama4coder_planned_sequences",
            "Sequences that generate at once on one target replica, at that load",
            registry=registry,
        )
        self.planned_max_sequences = Gauge(
            "llama4coder_planned_max_sequences", "Sequences that one target replica holds at most", registry=registry
        )
        self.planned_kv_bytes = Gauge(
            "llama4coder_planned_kv_bytes", "KV memory that each rank should have", registry=registry
        )
        self.planned_ttft = Gauge(
            "llama4coder_planned_time_to_first_token_seconds",
            "Mean time to first token at that load",
            registry=registry,
        )
        self.planned_itl = Gauge(
            "llama4coder_planned_inter_token_latency_seconds",
            "Mean time per output token of one sequence at that load",
            registry=registry,
        )

    def show_plan(self, plan: PlanConfig) -> None:
        """Show what was planned."""
        self.planned_replicas.labels(pool=Pool.TARGET.value).set(plan.target_replicas)
        self.planned_replicas.labels(pool=Pool.DRAFT.value).set(plan.draft_replicas)
        self.planned_requests.set(plan.requests_per_s)
        self.planned_max_requests.set(plan.max_requests_per_s)
        self.planned_output_tokens.set(plan.output_tokens_per_s)
        self.planned_sequences.set(plan.sequences)
        self.planned_max_sequences.set(plan.max_sequences)
        self.planned_kv_bytes.set(plan.kv_bytes_per_rank)
        self.planned_ttft.set(plan.ttft_s)
        self.planned_itl.set(plan.itl_s)
