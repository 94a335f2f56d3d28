"""From what the operator wrote to what will run: one function, no side effects, every `auto` gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llama4coder.checkpoint.embedded import EMBEDDED_NAME
from llama4coder.config import (
    Auto,
    DeploymentConfig,
    Device,
    DType,
    EngineConfig,
    PoolConfig,
    QuantFormat,
    ResolvedConfig,
    ResolvedEngine,
    ResolvedModel,
)
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import (
    BLOCK_SIZE,
    INT4_GROUP,
    NF4_GROUP,
    kv_bytes_per_block,
    layer_matrices,
    num_blocks_for,
    weight_bytes,
)
from llama4coder.machine import Machine
from llama4coder.parallel.layout import choose_layout
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape

_PROCESS_RESERVE_BYTES = 768 * 2**20  # Python, torch and activations of a rank, measured at 350 to 600 MiB on a CPU
_GPU_RESERVE_BYTES = (
    3 * 2**30
)  # what libraries allocate, CUDA graphs, logits and the activations of a step; an estimate
_AUTO_KV_SHARE = 0.5  # of what weights leave free
_AUTO_KV_GPU_SHARE = 0.9  # where nothing else runs
_AUTO_KV_CPU_BYTES = 2 * 2**30  # a laptop has other work to do

_QUANT_DEVICE: dict[QuantFormat, Device] = {"int8": "cpu", "int4": "cpu", "fp8": "cuda", "nf4": "cuda"}
_QUANT_GROUP: dict[QuantFormat, int] = {"int4": INT4_GROUP, "nf4": NF4_GROUP}


def resolve(config: DeploymentConfig, checkpoint: Path, shape: ModelShape, machine: Machine) -> ResolvedConfig:
    """Derive every `auto` for the ranks of a replica on machines like this one, looked at for `engine.device`.

    Raises:
        ConfigError: a combination that cannot work.
        NotEnoughMemory: weights and one sequence of the served context do not fit.
    """
    engine = config.engine
    _check_engine(config)
    _check_pool(config.speculation.pool)
    dtype = choose_dtype(config.model.dtype, config.model.quant, machine)
    context_length = _context_length(config, shape)
    device = machine.device if engine.device == "auto" else engine.device
    layout = choose_layout(shape, engine.ranks, None if engine.kv_shards == "auto" else engine.kv_shards)
    plans = tuple(RankPlan(shape, layout, rank) for rank in range(layout.num_ranks))
    check_quant("model.quant", config.model.quant, plans, device)
    _check_device(device, machine)
    memory = _RankMemory.of(config, plans, dtype, context_length, machine)
    return ResolvedConfig(
        model=ResolvedModel(
            path=str(checkpoint),
            name=config.model.name or (EMBEDDED_NAME if config.model.path == "embedded" else checkpoint.name),
            aliases=config.model.aliases,
            dtype=dtype,
            quant=config.model.quant,
            context_length=context_length,
        ),
        engine=ResolvedEngine(
            device=device,
            heads_shards=layout.heads_shards,
            kv_shards=layout.kv_shards,
            num_blocks=memory.num_blocks,
            weight_bytes_per_rank=memory.weight_bytes,
            kv_bytes_per_rank=memory.num_blocks * memory.block_bytes,
            block_size=BLOCK_SIZE,
            kv_format=engine.kv_format,
            max_sequences=engine.max_sequences,
            max_step_tokens=engine.max_step_tokens,
            max_queued_requests=engine.max_queued_requests,
            top_blocks=engine.top_blocks,
            block_bounds=_keeps_bounds(engine),
            prefix_caching=engine.prefix_caching,
            num_threads=_num_threads(config, machine),
            step_timeout_s=engine.step_timeout_s,
            heartbeat_timeout_s=engine.heartbeat_timeout_s,
        ),
        placement=config.placement,
        speculation=config.speculation,
        server=config.server,
        ingress_replicas=config.ingress_replicas,
        target_replicas=config.target_replicas,
    )


def _keeps_bounds(engine: EngineConfig) -> bool:
    return engine.block_bounds or engine.top_blocks is not None


def _check_engine(config: DeploymentConfig) -> None:
    engine, ranks_per_node = config.engine, config.placement.ranks_per_node
    if engine.max_sequences > engine.max_step_tokens:
        raise ConfigError(
            f"engine.max_sequences ({engine.max_sequences}) is more than engine.max_step_tokens "
            f"({engine.max_step_tokens}); each running sequence needs one token of the step"
        )
    if ranks_per_node is not None and sum(ranks_per_node) != engine.ranks:
        raise ConfigError(
            f"placement.ranks_per_node {list(ranks_per_node)} adds up to {sum(ranks_per_node)} ranks, "
            f"engine.ranks is {engine.ranks}"
        )


def _check_pool(pool: PoolConfig) -> None:
    if pool.min_replicas > pool.max_replicas:
        raise ConfigError(
            f"speculation.pool.min_replicas ({pool.min_replicas}) is more than speculation.pool.max_replicas "
            f"({pool.max_replicas})"
        )


def _check_device(device: Device, machine: Machine) -> None:
    if device == "cuda" and machine.device == "cpu":
        raise ConfigError(
            "engine.device is cuda, and there is no GPU that torch can use: set it to cpu or auto, "
            "or install a torch that was built for your GPUs"
        )
    assert device == machine.device, "a machine that was looked at for another device"


def choose_dtype(dtype: DType | Auto, quant: QuantFormat, machine: Machine) -> DType:
    """What `auto` stands for."""
    if dtype != "auto":
        return dtype
    is_quantised = quant != "none"  # whose products have kernels of their own, made for bfloat16
    return "bfloat16" if machine.computes_bfloat16 or is_quantised else "float32"


def check_quant(key: str, quant: QuantFormat, plans: Sequence[RankPlan], device: Device) -> None:
    """Raise `ConfigError`, naming the setting, for a format that these weights on this device cannot have."""
    if quant == "none":
        return
    computed_on = _QUANT_DEVICE[quant]
    if device != computed_on:
        raise ConfigError(
            f"{key} {quant} is computed on {computed_on} only: set it to none, or engine.device to {computed_on}"
        )
    group = _QUANT_GROUP.get(quant, 1)
    sizes = {matrix.in_features for plan in plans for matrix in layer_matrices(plan)}
    if any(size % group for size in sizes):
        raise ConfigError(
            f"{key} {quant} keeps weights in groups of {group} inputs, and a rank's matrices have "
            f"{', '.join(map(str, sorted(sizes)))}: use {'int8' if computed_on == 'cpu' else 'fp8'}"
        )


def _context_length(config: DeploymentConfig, shape: ModelShape) -> int:
    if config.model.context_length == "auto":
        return shape.max_position
    if config.model.context_length > shape.max_position:
        raise ConfigError(
            f"model.context_length {config.model.context_length} is more than the model's own {shape.max_position} "
            "positions; lower it, or leave it at auto"
        )
    return config.model.context_length


def _num_threads(config: DeploymentConfig, machine: Machine) -> int:
    if config.engine.num_threads != "auto":
        return config.engine.num_threads
    return max(1, machine.num_cpus // ranks_on_a_node(config))


def ranks_on_a_node(config: DeploymentConfig) -> int:
    """How many ranks of a replica may come to share a machine."""
    return max(config.placement.ranks_per_node or (config.engine.ranks,))


@dataclass(frozen=True, slots=True)
class _RankMemory:
    """What one rank keeps; of different ranks the most."""

    weight_bytes: int
    block_bytes: int
    num_blocks: int

    @classmethod
    def of(
        cls, config: DeploymentConfig, plans: Sequence[RankPlan], dtype: DType, context_length: int, machine: Machine
    ) -> "_RankMemory":
        """Raises `NotEnoughMemory`."""
        plan = plans[0]  # all have equally many heads
        bounded = _keeps_bounds(config.engine)
        block_bytes = kv_bytes_per_block(plan, dtype, config.engine.kv_format, block_bounds=bounded)
        heaviest_bytes = max(weight_bytes(plan, dtype, config.model.quant) for plan in plans)
        one_sequence_bytes = num_blocks_for(context_length, plan.layout.kv_shards) * block_bytes
        budget = _Budget.of(config, heaviest_bytes, one_sequence_bytes, machine)
        budget.check(context_length)
        return cls(heaviest_bytes, block_bytes, budget.kv_bytes // block_bytes)


@dataclass(frozen=True, slots=True)
class _Budget:
    """What one rank has for KV, and what it needs at least."""

    memory_bytes: int  # free on its device, or its part of what is free on a machine
    free_bytes: int  # of these, beside weights and all else
    kv_bytes: int
    one_sequence_bytes: int

    @classmethod
    def of(cls, config: DeploymentConfig, heaviest_bytes: int, one_sequence_bytes: int, machine: Machine) -> "_Budget":
        is_gpu = machine.device == "cuda"
        num_sharing = 1 if is_gpu else ranks_on_a_node(config)
        memory_bytes = machine.memory_bytes // num_sharing
        free_bytes = memory_bytes - heaviest_bytes - (_GPU_RESERVE_BYTES if is_gpu else _PROCESS_RESERVE_BYTES)
        if config.engine.kv_memory_bytes != "auto":
            kv_bytes = config.engine.kv_memory_bytes
        elif is_gpu:
            kv_bytes = int(free_bytes * _AUTO_KV_GPU_SHARE)
        else:
            kv_bytes = min(int(free_bytes * _AUTO_KV_SHARE), max(_AUTO_KV_CPU_BYTES // num_sharing, one_sequence_bytes))
        return cls(memory_bytes, free_bytes, kv_bytes, one_sequence_bytes)

    def check(self, context_length: int) -> None:
        """Raise `NotEnoughMemory` with what to change."""
        left = _gib(max(0, self.free_bytes))
        if self.one_sequence_bytes > self.free_bytes:
            raise NotEnoughMemory(
                f"one sequence of {context_length} tokens needs {_gib(self.one_sequence_bytes)} of a rank's KV memory, "
                f"and {left} of {_gib(self.memory_bytes)} are left beside the weights: "
                "lower model.context_length, use a smaller dtype, more ranks, or free memory"
            )
        if self.kv_bytes < self.one_sequence_bytes:
            raise NotEnoughMemory(
                f"engine.kv_memory_bytes ({_gib(self.kv_bytes)}) cannot hold one sequence of {context_length} tokens "
                f"({_gib(self.one_sequence_bytes)}): raise it or lower model.context_length"
            )
        if self.kv_bytes > self.free_bytes:
            raise NotEnoughMemory(
                f"engine.kv_memory_bytes ({_gib(self.kv_bytes)}) is more than the {left} that are left "
                "beside the weights: lower it"
            )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
