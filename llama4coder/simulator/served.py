"""One replica before it is rented: the configuration that its engine gets, and how fast its ranks are."""

from dataclasses import dataclass, field
from pathlib import Path

from llama4coder.config import (
    DeploymentConfig,
    EngineConfig,
    KVFormat,
    ModelConfig,
    QuantFormat,
    SpeculationConfig,
    SpeculationMethod,
)
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.budget import with_pool
from llama4coder.kv.demand import Demand
from llama4coder.machine import Machine
from llama4coder.planner.calibration import Calibration, Subject
from llama4coder.planner.gpus import GpuKind
from llama4coder.planner.roofline import Roofline
from llama4coder.planner.shapes import PlannedModel
from llama4coder.planner.step_time import StepTimes
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig

_HOST_BYTES = 2**50  # of a node: as much as somebody asks for
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
    front_s: float = 0.0  # of each request outside the engine, before its first token
    name: str = field(default="a replica")

    @property
    def num_block_tokens(self) -> int:
        """Tokens whose KV it holds."""
        engine = self.config.engine
        return engine.num_blocks * engine.kv_shards * engine.block_size


def serve(
    model: PlannedModel, gpu: GpuKind, choices: ReplicaChoices, calibration: Calibration | None = None
) -> ServedReplica:
    """A replica of a model on GPUs of one kind, as `resolve` would have it there.

    It is timed by the GPUs' data sheet, or by steps that were measured.

    Raises:
        ConfigError: a combination that cannot work, such as a layout that there is none of; or a calibration for
            something else.
        NotEnoughMemory: it does not fit; says what would.
    """
    machine = Machine("cuda", gpu.memory_bytes, num_cpus=1, computes_bfloat16=True, host_memory_bytes=_HOST_BYTES)
    config = resolve(_deployment(choices), Path(model.name), model.shape, machine)
    demand = Demand.of_config(config, model.shape)
    if choices.num_blocks is not None:
        config = with_pool(config, choices.num_blocks, choices.num_blocks * demand.block_bytes)
    price, num_ranks = gpu.price_per_hour, demand.layout.num_ranks
    front_s, name = 0.0, f"{model.name} on {num_ranks} x {gpu.name}"
    times: StepTimes
    if calibration is None:
        graphs = GraphSizes.to_verify(choices.max_sequences, demand.limits.max_draft_tokens)
        times = Roofline(gpu, model.shape, demand.layout, demand.form, graphs)
    else:
        calibration.check(Subject.of(model.shape, demand.layout, demand.form))
        times, front_s = calibration.times, calibration.times.around.front_s
        name = f"{model.name} on {num_ranks} x {calibration.source.machine}"
    return ServedReplica(
        config=config,
        times=times,
        weight_bytes=demand.memory.weights,
        block_move_s=demand.block_bytes / _HOST_BYTES_PER_S,
        num_gpus=num_ranks,
        price_per_hour=None if price is None else price * num_ranks,
        front_s=front_s,
        name=name,
    )


def _deployment(choices: ReplicaChoices) -> DeploymentConfig:
    return DeploymentConfig(
        model=ModelConfig(dtype="bfloat16", quant=choices.quant, context_length=choices.context_length or "auto"),
        engine=EngineConfig(
            device="cuda",
            ranks=choices.ranks,
            kv_shards=choices.kv_shards or "auto",
            kv_format=choices.kv_format,
            host_memory_bytes=choices.host_memory_bytes,
            max_sequences=choices.max_sequences,
            max_step_tokens=choices.max_step_tokens,
            max_queued_requests=choices.max_queued_requests,
            queue_timeout_s=choices.queue_timeout_s,
            prefix_caching=choices.prefix_caching,
        ),
        speculation=SpeculationConfig(method=choices.method, max_draft_tokens=choices.max_draft_tokens),
    )
