"""Every metric of the product, declared once. Labels come from closed sets; no content, and no names of keys unless the
operator asks for them."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from llama4coder.obs.pool import PoolLookup
from llama4coder.obs.routing import RouteReason
from llama4coder.obs.stats import DraftFallback, DraftStats, EngineStats, MemoryStats, StepStats
from llama4coder.types import FinishReason, Priority

_REQUEST_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_FIRST_TOKEN_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
_ROUTING_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_STEP_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 5.0)
_LENGTH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_POSITIONS = tuple(map(str, range(1, 9)))  # of a token in its draft; later ones count as "more"


class Metrics:
    """The metrics of one process; an `EngineObserver`, a `SpeculationObserver` and a `PoolObserver` where an engine
    lives in it, a `DraftObserver` in a draft replica, a `RoutingObserver` in an ingress.

    Front metrics are fed by `server.observe` and `obs.backend`, engine metrics by the `on_*` methods.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._declare_front(registry)
        self._declare_router(registry)
        self._declare_engine(registry)
        self._declare_queue(registry)
        self._declare_blocks(registry)
        self._declare_drafts(registry)
        self._declare_pool(registry)

    def render(self) -> bytes:
        """This process's metrics in Prometheus text format."""
        return generate_latest(_WithoutCreated(self._registry))

    def on_state(self, state: EngineStats) -> None:
        """Show queue and blocks as they are now."""
        self.running_requests.set(state.num_running)
        num_interactive = state.num_waiting - state.num_waiting_batch
        self.queue_depth_requests.labels(priority=Priority.INTERACTIVE.value).set(num_interactive)
        self.queue_depth_requests.labels(priority=Priority.BATCH.value).set(state.num_waiting_batch)
        self.queue_depth_tokens.set(state.num_waiting_tokens)
        self.kv_blocks.labels(state="used").set(state.num_used_blocks)
        self.kv_blocks.labels(state="cached").set(state.num_cached_blocks)
        self.kv_blocks.labels(state="free").set(state.num_free_blocks)
        self.kv_promised_blocks.set(state.num_promised_blocks)
        self.host_blocks.labels(state="cached").set(state.num_cached_host_blocks)
        self.host_blocks.labels(state="pinned").set(state.num_pinned_host_blocks)
        self.host_blocks.labels(state="free").set(state.num_free_host_blocks)

    def on_memory(self, memory: MemoryStats) -> None:
        """Show what memory was meant for, and what it goes to."""
        for kind, num_bytes in (("predicted", memory.predicted), ("actual", memory.actual)):
            for part, its_bytes in num_bytes.items():
                self.memory_bytes.labels(part=part.value, kind=kind).set(its_bytes)

    def on_step(self, stats: StepStats) -> None:
        """Count one step."""
        self.step_time.observe(stats.step_time_s)
        self.model_time.observe(stats.model_time_s)
        self.step_tokens.labels(phase="prefill").inc(stats.num_prefill_tokens)
        self.step_tokens.labels(phase="decode").inc(stats.num_decode_tokens)
        self.saved_blocks.inc(stats.num_saved_blocks)
        self.loaded_blocks.inc(stats.num_loaded_blocks)

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

    def on_expired(self, num_requests: int) -> None:
        """Count requests that waited too long."""
        self.admission_rejections.labels(reason="queue_timeout").inc(num_requests)

    def on_finished(self, reason: FinishReason, num_output_tokens: int) -> None:
        """Count a request that ended."""
        self.finished.labels(reason=reason.value).inc()
        self.output_tokens.inc(num_output_tokens)

    def on_drafts(self, drafts: Sequence[DraftStats]) -> None:
        """Count what a step made of its drafts."""
        for draft in drafts:
            self.draft_proposals.labels(source=draft.source).inc()
            self.draft_length.observe(draft.num_drafted)
        _count_positions(self.draft_tokens, [draft.num_drafted for draft in drafts])
        _count_positions(self.draft_accepted_tokens, [draft.num_accepted for draft in drafts])

    def on_fallback(self, reason: DraftFallback, num_rows: int) -> None:
        """Count rows that went without a draft."""
        self.draft_fallbacks.labels(reason=reason.value).inc(num_rows)

    def on_speedup(self, ratio: float) -> None:
        """Show what speculation is worth now."""
        self.draft_speedup.set(ratio)

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

    def on_route(self, reason: RouteReason, num_cached_tokens: int, overhead_s: float, report_age_s: float) -> None:
        """Count a request that was given a replica."""
        self.route_decisions.labels(reason=reason.value).inc()
        self.prefix_hit_predicted_tokens.inc(num_cached_tokens)
        self.routing_overhead.observe(overhead_s)
        self.route_report_age.set(report_age_s)

    def on_prefix(self, num_cached_tokens: int) -> None:
        """Count what a request found cached."""
        self.prefix_hit_actual_tokens.inc(num_cached_tokens)

    def _declare_front(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "llama4coder_requests_total", "HTTP requests by outcome", ("api", "model", "code"), registry=registry
        )
        self.request_duration = Histogram(
            "llama4coder_request_duration_seconds",
            "From request to last byte",
            ("api",),
            buckets=_REQUEST_BUCKETS_S,
            registry=registry,
        )
        self.time_to_first_token = Histogram(
            "llama4coder_time_to_first_token_seconds",
            "From a sequence's submission to its first token",
            buckets=_FIRST_TOKEN_BUCKETS_S,
            registry=registry,
        )
        self.inter_token_latency = Histogram(
            "llama4coder_inter_token_latency_seconds",
            "Between two arrivals of tokens of one sequence",
            buckets=_STEP_BUCKETS_S,
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

    def _declare_router(self, registry: CollectorRegistry) -> None:
        self.route_decisions = Counter(
            "llama4coder_route_decisions_total",
            "Requests sent to a target replica, by why to that one",
            ("reason",),
            registry=registry,
        )
        self.routing_overhead = Histogram(
            "llama4coder_routing_overhead_seconds",
            "Choosing a target replica",
            buckets=_ROUTING_BUCKETS_S,
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
            "Age of the oldest report that the last choice of a replica rested on",
            registry=registry,
        )

    def _declare_engine(self, registry: CollectorRegistry) -> None:
        self.startup_time = Gauge(
            "llama4coder_startup_seconds", "Parts of a target replica's start", ("phase",), registry=registry
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
        self.output_tokens = Counter(
            "llama4coder_output_tokens_total", "Output tokens of ended requests", registry=registry
        )
        self.finished = Counter("llama4coder_finished_total", "Sequences ended", ("reason",), registry=registry)
        self.step_time = Histogram(
            "llama4coder_step_time_seconds",
            "One step, from submission or the end of the one before to commit",
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self.model_time = Histogram(
            "llama4coder_model_time_seconds",
            "The model's and the sampler's part of one step",
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self.step_tokens = Counter(
            "llama4coder_step_tokens_total", "Tokens computed by phase", ("phase",), registry=registry
        )

    def _declare_queue(self, registry: CollectorRegistry) -> None:
        self.running_requests = Gauge("llama4coder_running_requests", "Sequences being generated", registry=registry)
        self.queue_depth_requests = Gauge(
            "llama4coder_queue_depth_requests", "Sequences waiting for admission", ("priority",), registry=registry
        )
        self.queue_depth_tokens = Gauge(
            "llama4coder_queue_depth_tokens", "Prompt tokens waiting for admission", registry=registry
        )
        self.queue_time = Histogram(
            "llama4coder_queue_time_seconds", "Waiting for admission", buckets=_FIRST_TOKEN_BUCKETS_S, registry=registry
        )
        self.preemptions = Counter(
            "llama4coder_preemptions_total",
            "Sequences sent back to the queue, by what came of it: when they returned most of their tokens were found, "
            "or most were to be computed again, or they were aborted before",
            ("outcome",),
            registry=registry,
        )
        self.readmitted_tokens = Counter(
            "llama4coder_readmitted_tokens_total",
            "Tokens that preempted sequences had computed: found again when they returned, or not",
            ("source",),
            registry=registry,
        )

    def _declare_blocks(self, registry: CollectorRegistry) -> None:
        self.kv_blocks = Gauge("llama4coder_kv_blocks", "KV blocks of the pool by state", ("state",), registry=registry)
        self.kv_promised_blocks = Gauge(
            "llama4coder_kv_promised_blocks",
            "Free and cached KV blocks that running sequences have been promised",
            registry=registry,
        )
        self.memory_bytes = Gauge(
            "llama4coder_memory_bytes",
            "Memory of a target replica's fullest rank at start, by part, predicted and actual",
            ("part", "kind"),
            registry=registry,
        )
        self.host_blocks = Gauge(
            "llama4coder_host_blocks",
            "Blocks' places in host memory by state: pinned for preempted sequences, cached prefixes, free",
            ("state",),
            registry=registry,
        )
        self.saved_blocks = Counter(
            "llama4coder_host_saved_blocks_total", "KV blocks copied to host memory", registry=registry
        )
        self.loaded_blocks = Counter(
            "llama4coder_host_loaded_blocks_total", "KV blocks copied back from host memory", registry=registry
        )

    def _declare_drafts(self, registry: CollectorRegistry) -> None:
        self.draft_proposals = Counter(
            "llama4coder_draft_proposals_total", "Drafts that were checked", ("source",), registry=registry
        )
        self.draft_tokens = Counter(
            "llama4coder_draft_tokens_total",
            "Guessed tokens that were checked, by position in their draft",
            ("position",),
            registry=registry,
        )
        self.draft_accepted_tokens = Counter(
            "llama4coder_draft_accepted_tokens_total",
            "Guessed tokens that were right, by position in their draft",
            ("position",),
            registry=registry,
        )
        self.draft_length = Histogram(
            "llama4coder_draft_length_tokens", "Guesses per draft", buckets=_LENGTH_BUCKETS, registry=registry
        )
        self.draft_fallbacks = Counter(
            "llama4coder_draft_fallbacks_total", "Rows that went without a draft", ("reason",), registry=registry
        )
        self.draft_speedup = Gauge(
            "llama4coder_draft_speedup_ratio",
            "Tokens/s of late over those that plain decoding would have made, estimated",
            registry=registry,
        )

    def _declare_pool(self, registry: CollectorRegistry) -> None:
        self.pool_lookups = Counter(
            "llama4coder_pool_lookups_total",
            "What the draft pool had for rows that asked: a hit, or why there was none",
            ("result",),
            registry=registry,
        )
        self.pool_round_trip = Histogram(
            "llama4coder_pool_round_trip_seconds",
            "From news to a draft replica to finding its answer; the engine looks once per step",
            buckets=_STEP_BUCKETS_S,
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
            buckets=_STEP_BUCKETS_S,
            registry=registry,
        )
        self.pool_sessions = Gauge("llama4coder_pool_sessions", "Sequences of a draft replica", registry=registry)


def _count_positions(counter: Counter, lengths: Sequence[int]) -> None:
    for number, position in enumerate(_POSITIONS, 1):
        counter.labels(position=position).inc(sum(length >= number for length in lengths))
    counter.labels(position="more").inc(sum(max(0, length - len(_POSITIONS)) for length in lengths))


class _WithoutCreated(CollectorRegistry):
    """A registry's metrics without the `_created` samples that double every series and that nobody reads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._inner = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            metric.samples = [sample for sample in metric.samples if sample.name != f"{metric.name}_created"]
            yield metric
