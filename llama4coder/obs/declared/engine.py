"""Steps and tokens of an engine."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from llama4coder.obs.declared.buckets import FIRST_TOKEN_S, STEP_S
from llama4coder.obs.stats import StepStats
from llama4coder.types import FinishReason


class EngineMetrics:
    """Steps and tokens of an engine."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.output_tokens = Counter(
            "llama4coder_output_tokens_total", "Output tokens of ended requests", registry=registry
        )
        self.finished = Counter("llama4coder_finished_total", "Sequences ended", ("reason",), registry=registry)
        for reason in FinishReason:
            self.finished.labels(reason=reason.value)
        self.engine_first_token = Histogram(
            "llama4coder_engine_first_token_seconds",
            "From a request's arrival at a target replica to its first token there",
            buckets=FIRST_TOKEN_S,
            registry=registry,
        )
        self.step_time = Histogram(
            "llama4coder_step_time_seconds",
            "One step, from submission or the end of the one before to commit",
            buckets=STEP_S,
            registry=registry,
        )
        self.model_time = Histogram(
            "llama4coder_model_time_seconds",
            "The model's and the sampler's part of one step",
            buckets=STEP_S,
            registry=registry,
        )
        self.step_tokens = Counter(
            "llama4coder_step_tokens_total", "Tokens computed by phase", ("phase",), registry=registry
        )
        self.saved_blocks = Counter(
            "llama4coder_host_saved_blocks_total", "KV blocks copied to host memory", registry=registry
        )
        self.loaded_blocks = Counter(
            "llama4coder_host_loaded_blocks_total", "KV blocks copied back from host memory", registry=registry
        )

    def on_step(self, stats: StepStats) -> None:
        """Count one step."""
        self.step_time.observe(stats.step_time_s)
        self.model_time.observe(stats.model_time_s)
        self.step_tokens.labels(phase="prefill").inc(stats.num_prefill_tokens)
        self.step_tokens.labels(phase="decode").inc(stats.num_decode_tokens)
        self.saved_blocks.inc(stats.num_saved_blocks)
        self.loaded_blocks.inc(stats.num_loaded_blocks)

    def on_first_token(self, time_s: float) -> None:
        """Count a first token."""
        self.engine_first_token.observe(time_s)

    def on_finished(self, reason: FinishReason, num_output_tokens: int) -> None:
        """Count a request that ended."""
        self.finished.labels(reason=reason.value).inc()
        self.output_tokens.inc(num_output_tokens)
