"""What an ingress sees of requests; fed by `server.observe` and `obs.backend`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llama4coder.obs.declared.buckets import FIRST_TOKEN_S, REQUEST_S, STEP_S

REJECTIONS = ("queue_full", "too_long", "queue_timeout")


class FrontMetrics:
    """What an ingress sees of requests; fed by `server.observe` and `obs.backend`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "llama4coder_requests_total", "HTTP requests by outcome", ("api", "model", "code"), registry=registry
        )
        self.request_duration = Histogram(
            "llama4coder_request_duration_seconds",
            "From request to last byte",
            ("api",),
            buckets=REQUEST_S,
            registry=registry,
        )
        self.time_to_first_token = Histogram(
            "llama4coder_time_to_first_token_seconds",
            "From a sequence's submission to its first token",
            buckets=FIRST_TOKEN_S,
            registry=registry,
        )
        self.inter_token_latency = Histogram(
            "llama4coder_inter_token_latency_seconds",
            "Between two arrivals of tokens of one sequence",
            buckets=STEP_S,
            registry=registry,
        )
        self.active_streams = Gauge("llama4coder_active_streams", "Open event streams", registry=registry)
        self.client_disconnects = Counter(
            "llama4coder_client_disconnects_total",
            "Clients that left before their answer was complete",
            registry=registry,
        )
        self.recovered_requests = Counter(
            "llama4coder_recovered_requests_total",
            "Requests that went on after they lost their replica",
            registry=registry,
        )
        self.key_refusals = Counter(
            "llama4coder_key_refusals_total",
            "Requests refused for their API key, or for its limits",
            ("reason",),
            registry=registry,
        )
        self.tenant_tokens = Counter(
            "llama4coder_tenant_tokens_total",
            "Tokens of prompts and outputs by API key, with `server.tenant_metrics`",
            ("tenant", "kind"),
            registry=registry,
        )
        self.admission_rejections = Counter(
            "llama4coder_admission_rejections_total", "Requests that were not admitted", ("reason",), registry=registry
        )
        for reason in REJECTIONS:
            self.admission_rejections.labels(reason=reason)  # shown from the start: a first one is a rise
