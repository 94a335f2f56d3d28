"""What one deployment comes to: its configuration with nothing left to derive."""

from collections.abc import Mapping
from typing import Any

from llama4coder.config import (
    Device,
    DType,
    Frozen,
    KVFormat,
    PlacementConfig,
    PlanConfig,
    QuantFormat,
    RouterConfig,
    ServerConfig,
    SpeculationConfig,
    TelemetryConfig,
)


class ResolvedModel(Frozen):
    """The model as it is served, nothing left to derive."""

    source: str  # as `find_checkpoint` finds it on every machine
    path: str  # of its folder on this one
    name: str
    aliases: tuple[str, ...]
    dtype: DType
    quant: QuantFormat
    quant_exclude: tuple[str, ...]
    verify: bool
    context_length: int
    rope_scaling: Mapping[str, Any] | None = None


class ResolvedEngine(Frozen):
    """The engine as it runs, nothing left to derive."""

    device: Device
    heads_shards: int
    kv_shards: int
    memory_budget_bytes: int  # that a rank may take
    kv_memory_bytes: int | None  # of a rank's blocks; None: what is left of the budget
    num_blocks: int  # of each KV shard; predicted, until it is measured what is left
    weight_bytes_per_rank: int  # of the rank that holds the most
    other_bytes_per_rank: int  # beside weights and blocks
    kv_bytes_per_rank: int
    num_host_blocks: int  # slots in host memory, of each KV shard
    host_bytes_per_rank: int
    block_size: int
    kv_format: KVFormat
    max_sequences: int
    max_step_tokens: int
    max_queued_requests: int
    queue_timeout_s: float
    batch_delay_s: float
    top_blocks: int | None
    block_bounds: bool
    prefix_caching: bool
    num_threads: int
    step_timeout_s: float
    heartbeat_timeout_s: float
    drain_timeout_s: float

    @property
    def ranks(self) -> int:
        return self.heads_shards * self.kv_shards


class ResolvedDraft(Frozen):
    """The draft model as it runs, nothing left to derive."""

    path: str
    dtype: DType
    quant: QuantFormat
    quant_exclude: tuple[str, ...]
    device: Device
    window_tokens: int
    num_blocks: int
    weight_bytes: int
    kv_bytes: int
    num_threads: int

    @property
    def memory_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes


class ResolvedScaling(Frozen):
    """Scaling as it is done, nothing left to derive."""

    max_replicas: int
    kv_share: float
    prefill_share: float
    backlog_s: float
    ttft_s: float
    streams_per_replica: int
    up_delay_s: float
    down_delay_s: float
    start_time_s: float
    forecast_file: str | None
    forecast_zone: str


class ResolvedConfig(Frozen):
    """`DeploymentConfig` with every `auto` replaced by its value."""

    model: ResolvedModel
    engine: ResolvedEngine
    placement: PlacementConfig
    speculation: SpeculationConfig
    router: RouterConfig
    scaling: ResolvedScaling
    server: ServerConfig
    telemetry: TelemetryConfig
    ingress_replicas: int
    target_replicas: int
    plan: PlanConfig | None = None
