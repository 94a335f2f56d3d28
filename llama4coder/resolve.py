"""From what the operator wrote to what will run: one function, no side effects, every `auto` gone."""

from dataclasses import replace
from pathlib import Path

from llama4coder.checkpoint.embedded import EMBEDDED_NAME
from llama4coder.checkpoint.folder import EMBEDDED, source_of
from llama4coder.checkpoint.stored_quant import StoredQuant
from llama4coder.config import (
    Auto,
    DeploymentConfig,
    Device,
    DType,
    EngineConfig,
    KVFormat,
    PoolConfig,
    QuantFormat,
    ServerConfig,
)
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.budget import Budget
from llama4coder.kv.demand import Demand
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.step_sizing import ServedForm, StepLimits
from llama4coder.machine import Machine
from llama4coder.parallel.layout import ParallelLayout, choose_layout
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolve_host import num_host_blocks
from llama4coder.resolve_quant import QuantSetting, resolve_quant
from llama4coder.resolve_scaling import resolve_scaling
from llama4coder.resolved import ResolvedConfig, ResolvedEngine, ResolvedModel
from llama4coder.shape import ModelShape

AUTO_BUDGET: dict[Device, float] = {"cpu": 1.0, "cuda": 0.9}
_AUTO_KV_SHARE = 0.5  # of what is left on a CPU
_AUTO_KV_CPU_BYTES = 2 * 2**30  # a laptop has other work to do


def resolve(
    config: DeploymentConfig, checkpoint: Path, shape: ModelShape, machine: Machine, stored: StoredQuant | None = None
) -> ResolvedConfig:
    """Derive every `auto` for the ranks of a replica on machines like this one, looked at for `engine.device`.

    `stored` is how the checkpoint is quantised.

    Raises:
        ConfigError: a combination that cannot work.
        NotEnoughMemory: weights and one sequence of the served context do not fit.
    """
    engine = config.engine
    _check_engine(config)
    _check_pool(config.speculation.pool)
    wanted_length = config.model.context_length
    context_length = shape.num_positions if wanted_length == "auto" else wanted_length
    device = machine.device if engine.device == "auto" else engine.device
    layout = choose_layout(shape, engine.ranks, None if engine.kv_shards == "auto" else engine.kv_shards)
    plans = tuple(RankPlan(shape, layout, rank) for rank in range(layout.num_ranks))
    setting = QuantSetting("model.quant", config.model.quant, config.model.quant_exclude)
    served = resolve_quant(setting, stored, plans, device)
    dtype = choose_dtype(config.model.dtype, served.quant, machine)
    check_kv_format(engine.kv_format, shape)
    window = shape.window_in(context_length)
    if window is not None:
        _check_window(window, engine, layout)
    _check_device(device, machine)
    limits = StepLimits(
        context_length, engine.max_sequences, engine.max_step_tokens, config.speculation.most_draft_tokens
    )
    form = ServedForm(dtype, served.quant, engine.kv_format, device, _keeps_bounds(engine), served.exclusions)
    demand = Demand.of(shape, layout, form, limits)
    return ResolvedConfig(
        model=ResolvedModel(
            source=source_of(config.model.path),
            path=str(checkpoint),
            name=config.model.name or (EMBEDDED_NAME if config.model.path == EMBEDDED else checkpoint.name),
            aliases=config.model.aliases,
            dtype=dtype,
            quant=served.quant,
            quant_exclude=served.exclusions.patterns,
            verify=config.model.verify,
            context_length=context_length,
            rope_scaling=config.model.rope_scaling,
        ),
        engine=_engine(config, demand, machine),
        placement=config.placement,
        speculation=config.speculation,
        router=config.router,
        scaling=resolve_scaling(config),
        server=_server(config),
        telemetry=config.telemetry,
        ingress_replicas=config.ingress_replicas,
        target_replicas=config.target_replicas,
        plan=config.plan,
    )


def _server(config: DeploymentConfig) -> ServerConfig:
    if config.server.limits_divided_by != "auto":
        return config.server
    return config.server.model_copy(update={"limits_divided_by": config.ingress_replicas})


def _engine(config: DeploymentConfig, demand: Demand, machine: Machine) -> ResolvedEngine:
    """With the pool that is predicted."""
    engine, layout = config.engine, demand.layout
    host_blocks = _host_blocks(config, demand, machine)
    budget = _budget(config, demand, machine, host_blocks)
    num_blocks = budget.num_blocks(demand)
    return ResolvedEngine(
        device=demand.form.device,
        heads_shards=layout.heads_shards,
        kv_shards=layout.kv_shards,
        memory_budget_bytes=budget.limit_bytes,
        kv_memory_bytes=budget.pool_bytes,
        num_blocks=num_blocks,
        weight_bytes_per_rank=demand.memory.weights,
        other_bytes_per_rank=demand.memory.total - demand.memory.weights,
        kv_bytes_per_rank=num_blocks * demand.block_bytes,
        num_host_blocks=host_blocks,
        host_bytes_per_rank=host_blocks * demand.block_bytes,
        block_size=BLOCK_SIZE,
        kv_format=engine.kv_format,
        max_sequences=engine.max_sequences,
        max_step_tokens=engine.max_step_tokens,
        max_queued_requests=engine.max_queued_requests,
        queue_timeout_s=engine.queue_timeout_s,
        batch_delay_s=engine.batch_delay_s,
        top_blocks=engine.top_blocks,
        block_bounds=_keeps_bounds(engine),
        prefix_caching=engine.prefix_caching,
        num_threads=_num_threads(config, machine),
        step_timeout_s=engine.step_timeout_s,
        heartbeat_timeout_s=engine.heartbeat_timeout_s,
        drain_timeout_s=engine.drain_timeout_s,
    )


def check_kv_format(kv_format: KVFormat, shape: ModelShape) -> None:
    """FP8 has three bits below the leading one, and a key's bias is many times what tells keys apart."""
    if kv_format == "fp8" and shape.qkv_bias:
        raise ConfigError(
            "engine.kv_format fp8 cannot tell the keys of this model apart, since they have biases: with it "
            "Qwen2.5-Coder 1.5B has a perplexity of 95 instead of 3.2; choose int8, or int4"
        )


def _check_window(window: int, engine: EngineConfig, layout: ParallelLayout) -> None:
    """Of models whose tokens see the last ones only, which long contexts cost little."""
    if window < BLOCK_SIZE:
        raise ConfigError(f"the model's tokens see {window} tokens, fewer than the {BLOCK_SIZE} of a block")
    for key, is_set in (
        ("engine.kv_shards", layout.kv_shards > 1),
        ("engine.top_blocks", engine.top_blocks is not None),
    ):
        if is_set:
            raise ConfigError(
                f"{key} is for models whose tokens see all that is before them, and this one's see {window} tokens: "
                f"leave it out, or set model.context_length to {window} or less"
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


def context_note(config: ResolvedConfig, shape: ModelShape) -> str | None:
    """What it means that another context is served than the model's own; None if it is that."""
    served, own = config.model.context_length, shape.num_positions
    if served > own:
        return (
            f"model.context_length {served} is more than the {own} positions that the model was made for: answers get "
            "worse beyond them, unless its config.json scales its RoPE for so many"
        )
    if served < own:
        return f"model.context_length {served}: longer prompts are refused, though the model was made for {own} tokens"
    return None


def _num_threads(config: DeploymentConfig, machine: Machine) -> int:
    if config.engine.num_threads != "auto":
        return config.engine.num_threads
    return max(1, machine.num_cpus // ranks_on_a_node(config))


def ranks_on_a_node(config: DeploymentConfig) -> int:
    """How many ranks of a replica may come to share a machine."""
    return max(config.placement.ranks_per_node or (config.engine.ranks,))


def _budget(config: DeploymentConfig, demand: Demand, machine: Machine, host_blocks: int) -> Budget:
    """What a rank may take on a machine like this one; on a CPU its host memory is a part of that."""
    limit_bytes = _rank_bytes(config, machine)
    if machine.device == "cpu":
        limit_bytes -= host_blocks * demand.block_bytes
    budget = Budget(limit_bytes, None, config.engine.ranks)
    if config.engine.kv_memory_bytes != "auto":
        return replace(budget, pool_bytes=config.engine.kv_memory_bytes)
    if machine.device == "cpu" and config.engine.memory_budget == "auto":
        habitual_bytes = min(int(budget.left(demand) * _AUTO_KV_SHARE), _AUTO_KV_CPU_BYTES // ranks_on_a_node(config))
        return replace(budget, pool_bytes=max(habitual_bytes, demand.one_sequence_bytes))
    return budget


def _host_blocks(config: DeploymentConfig, demand: Demand, machine: Machine) -> int:
    """Of a rank; on a CPU what the pool leaves when it is as small as it may be is all that there is for them."""
    wanted = config.engine.kv_memory_bytes
    pool_bytes = demand.one_sequence_bytes if wanted == "auto" else wanted
    return num_host_blocks(
        config,
        machine,
        left_bytes=_rank_bytes(config, machine) - demand.memory.total - pool_bytes,
        num_sharing=ranks_on_a_node(config),
        block_bytes=demand.block_bytes,
    )


def _rank_bytes(config: DeploymentConfig, machine: Machine) -> int:
    """What a rank may take for everything."""
    num_sharing = 1 if machine.device == "cuda" else ranks_on_a_node(config)
    return _limit_bytes(config.engine.memory_budget, machine, machine.memory_bytes // num_sharing)


def _limit_bytes(wanted: float | Auto, machine: Machine, memory_bytes: int) -> int:
    """Of the memory that a rank has here."""
    if wanted == "auto":
        return int(memory_bytes * AUTO_BUDGET[machine.device])
    if wanted <= 1:
        return int(memory_bytes * wanted)
    if wanted > memory_bytes:
        raise NotEnoughMemory(
            f"engine.memory_budget ({wanted / 2**30:.2f} GiB) is more than the {memory_bytes / 2**30:.2f} GiB that a "
            "rank has here: lower it, or free memory"
        )
    return int(wanted)
