"""One replica before it is rented: the configuration that its engine gets, and how fast its ranks are."""

from dataclasses import dataclass, field

from llama4coder.config import (
    DeploymentConfig,
    KVFormat,
    QuantFormat,
    ResolvedConfig,
    ResolvedEngine,
    ResolvedModel,
    SpeculationConfig,
    SpeculationMethod,
)
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.budget import Budget
from llama4coder.kv.demand import Demand
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.step_sizing import ServedForm, StepLimits
from llama4coder.parallel.layout import choose_layout
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.shapes import PlannedModel
from llama4coder.planner.step_time import StepTimes

_BUDGET_SHARE = 0.9  # of a GPU's memory, as `engine.memory_budget: auto` has it
_HOST_BYTES_PER_S = 40e9  # of blocks on their way over PCIe 5, to host memory or back


@dataclass(frozen=True, slots=True)
class ReplicaChoices:
    """What an operator chooses; defaults are those of the configuration."""

    ranks: int = 1
    kv_shards: int | None = None
    quant: QuantFormat = "none"
    kv_format: KVFormat = "dense"
    context_length: int | None = None  # None: the model's own
    max_sequences: int = 64
    max_step_tokens: int = 512
    max_queued_requests: int = 256
    queue_timeout_s: float = 120.0
    prefix_caching: bool = True
    host_memory_bytes: int = 0  # of each rank
    num_blocks: int | None = None  # None: as many as fit
    method: SpeculationMethod = "none"
    max_draft_tokens: int = 8


@dataclass(frozen=True, slots=True)
class ServedReplica:
    """All that a simulation asks about one replica; replicas are alike."""

    config: ResolvedConfig
    times: StepTimes
    weight_bytes: int  # of the rank that holds the most
    block_move_s: float  # of one block to host memory, or back
    num_gpus: int = 1
    price_per_hour: float | None = None  # of one replica
    name: str = field(default="a replica")

    @property
    def num_block_tokens(self) -> int:
        """Tokens whose KV it holds."""
        engine = self.config.engine
        return engine.num_blocks * engine.kv_shards * engine.block_size


def serve(model: PlannedModel, gpu: GpuKind, choices: ReplicaChoices) -> ServedReplica:
    """A replica of a model on GPUs of one kind, timed by their data sheet.

    Raises:
        ConfigError: there is no such layout.
        NotEnoughMemory: it does not fit; says what would.
    """
    layout = choose_layout(model.shape, choices.ranks, choices.kv_shards)
    form = ServedForm("bfloat16", choices.quant, choices.kv_format, "cuda")
    draft_tokens = 0 if choices.method == "none" else choices.max_draft_tokens
    context_length = choices.context_length or model.shape.max_position
    limits = StepLimits(context_length, choices.max_sequences, choices.max_step_tokens, draft_tokens)
    demand = Demand.of(model.shape, layout, form, limits)
    graphs = GraphSizes.to_verify(choices.max_sequences, draft_tokens)
    price = gpu.price_per_hour
    return ServedReplica(
        config=_config(model.name, demand, _num_blocks(demand, gpu, choices), choices),
        times=Roofline(gpu, model.shape, layout, form, graphs),
        weight_bytes=demand.memory.weights,
        block_move_s=demand.block_bytes / _HOST_BYTES_PER_S,
        num_gpus=layout.num_ranks,
        price_per_hour=None if price is None else price * layout.num_ranks,
        name=f"{model.name} on {layout.num_ranks} x {gpu.name}",
    )


def _num_blocks(demand: Demand, gpu: GpuKind, choices: ReplicaChoices) -> int:
    budget = Budget(int(_BUDGET_SHARE * gpu.memory_bytes), None, demand.layout.num_ranks)
    return budget.num_blocks(demand) if choices.num_blocks is None else choices.num_blocks


def _config(name: str, demand: Demand, num_blocks: int, choices: ReplicaChoices) -> ResolvedConfig:
    others = DeploymentConfig()
    model = ResolvedModel(
        path=name,
        name=name,
        aliases=(),
        dtype=demand.form.dtype,
        quant=demand.form.quant,
        quant_exclude=(),
        verify=False,
        context_length=demand.limits.context_length,
    )
    return ResolvedConfig(
        model=model,
        engine=_engine(demand, num_blocks, choices),
        placement=others.placement,
        speculation=SpeculationConfig(method=choices.method, max_draft_tokens=choices.max_draft_tokens),
        router=others.router,
        server=others.server,
        ingress_replicas=1,
        target_replicas=1,
    )


def _engine(demand: Demand, num_blocks: int, choices: ReplicaChoices) -> ResolvedEngine:
    others = DeploymentConfig().engine
    num_host_blocks = choices.host_memory_bytes // demand.block_bytes
    return ResolvedEngine(
        device="cuda",
        heads_shards=demand.layout.heads_shards,
        kv_shards=demand.layout.kv_shards,
        memory_budget_bytes=demand.memory.total + num_blocks * demand.block_bytes,
        kv_memory_bytes=None,
        num_blocks=num_blocks,
        weight_bytes_per_rank=demand.memory.weights,
        other_bytes_per_rank=demand.memory.total - demand.memory.weights,
        kv_bytes_per_rank=num_blocks * demand.block_bytes,
        num_host_blocks=num_host_blocks,
        host_bytes_per_rank=num_host_blocks * demand.block_bytes,
        block_size=BLOCK_SIZE,
        kv_format=choices.kv_format,
        max_sequences=choices.max_sequences,
        max_step_tokens=choices.max_step_tokens,
        max_queued_requests=choices.max_queued_requests,
        queue_timeout_s=choices.queue_timeout_s,
        batch_delay_s=others.batch_delay_s,
        top_blocks=None,
        block_bounds=False,
        prefix_caching=choices.prefix_caching,
        num_threads=1,
        step_timeout_s=others.step_timeout_s,
        heartbeat_timeout_s=others.heartbeat_timeout_s,
    )
