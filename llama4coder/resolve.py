"""From what the operator wrote to what will run: one function, no side effects, every `auto` gone."""

from pathlib import Path

from llama4coder.checkpoint.embedded import EMBEDDED_NAME
from llama4coder.config import (
    DeploymentConfig,
    Device,
    DType,
    QuantFormat,
    ResolvedConfig,
    ResolvedEngine,
    ResolvedModel,
)
from llama4coder.errors import ConfigError, NotEnoughMemory
from llama4coder.kv.sizing import BLOCK_SIZE, INT4_GROUP, kv_bytes_per_block, num_blocks_for, weight_bytes
from llama4coder.machine import Machine
from llama4coder.shape import ModelShape

_PROCESS_RESERVE_BYTES = 768 * 2**20  # Python, torch and activations of a rank, measured at 350 to 600 MiB on a CPU
_GPU_RESERVE_BYTES = (
    3 * 2**30
)  # what libraries allocate, CUDA graphs, logits and the activations of a step; an estimate
_AUTO_KV_SHARE = 0.5  # of what weights leave free
_AUTO_KV_GPU_SHARE = 0.9  # where nothing else runs
_AUTO_KV_CPU_BYTES = 2 * 2**30  # a laptop has other work to do

_QUANT_DEVICE: dict[QuantFormat, Device] = {"int8": "cpu", "int4": "cpu", "fp8": "cuda", "nf4": "cuda"}


def resolve(config: DeploymentConfig, checkpoint: Path, shape: ModelShape, machine: Machine) -> ResolvedConfig:
    """Derive every `auto` for one rank on this machine.

    Raises:
        ConfigError: a combination that cannot work.
        NotEnoughMemory: weights and one sequence of the served context do not fit.
    """
    engine = config.engine
    if engine.max_sequences > engine.max_step_tokens:
        raise ConfigError(
            f"engine.max_sequences ({engine.max_sequences}) is more than engine.max_step_tokens "
            f"({engine.max_step_tokens}); each running sequence needs one token of the step"
        )
    dtype = _dtype(config, machine)
    context_length = _context_length(config, shape)
    device = machine.device if engine.device == "auto" else engine.device
    _check_quant(config.model.quant, shape, device)
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
            num_blocks=_num_blocks(config, shape, dtype, context_length, machine),
            block_size=BLOCK_SIZE,
            max_sequences=engine.max_sequences,
            max_step_tokens=engine.max_step_tokens,
            max_queued_requests=engine.max_queued_requests,
            prefix_caching=engine.prefix_caching,
            num_threads=machine.num_cpus if engine.num_threads == "auto" else engine.num_threads,
            step_timeout_s=engine.step_timeout_s,
        ),
        server=config.server,
        ingress_replicas=config.ingress_replicas,
        target_replicas=config.target_replicas,
    )


def _dtype(config: DeploymentConfig, machine: Machine) -> DType:
    if config.model.dtype != "auto":
        return config.model.dtype
    is_quantised = config.model.quant != "none"  # whose products have kernels of their own, made for bfloat16
    return "bfloat16" if machine.computes_bfloat16 or is_quantised else "float32"


def _check_quant(quant: QuantFormat, shape: ModelShape, device: Device) -> None:
    if quant == "none":
        return
    computed_on = _QUANT_DEVICE[quant]
    if device != computed_on:
        raise ConfigError(
            f"model.quant {quant} is computed on {computed_on} only: set it to none, or engine.device to {computed_on}"
        )
    sizes = {matrix.in_features for matrix in shape.layer_matrices}
    if quant == "int4" and any(size % INT4_GROUP for size in sizes):
        raise ConfigError(
            f"model.quant int4 keeps weights in groups of {INT4_GROUP} inputs, and this model's matrices have "
            f"{', '.join(map(str, sorted(sizes)))}: use int8"
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


def _num_blocks(
    config: DeploymentConfig, shape: ModelShape, dtype: DType, context_length: int, machine: Machine
) -> int:
    block_bytes = kv_bytes_per_block(shape, dtype)
    one_sequence_bytes = num_blocks_for(context_length) * block_bytes
    reserve_bytes = _GPU_RESERVE_BYTES if machine.device == "cuda" else _PROCESS_RESERVE_BYTES
    free_bytes = machine.memory_bytes - weight_bytes(shape, dtype, config.model.quant) - reserve_bytes
    kv_bytes = _kv_bytes(config, free_bytes, one_sequence_bytes, machine)
    if kv_bytes < one_sequence_bytes or kv_bytes > free_bytes:
        raise NotEnoughMemory(_memory_advice(kv_bytes, one_sequence_bytes, free_bytes, context_length, machine))
    return kv_bytes // block_bytes


def _kv_bytes(config: DeploymentConfig, free_bytes: int, one_sequence_bytes: int, machine: Machine) -> int:
    if config.engine.kv_memory_bytes != "auto":
        return config.engine.kv_memory_bytes
    if machine.device == "cuda":
        return int(free_bytes * _AUTO_KV_GPU_SHARE)
    return min(int(free_bytes * _AUTO_KV_SHARE), max(_AUTO_KV_CPU_BYTES, one_sequence_bytes))


def _memory_advice(
    kv_bytes: int, one_sequence_bytes: int, free_bytes: int, context_length: int, machine: Machine
) -> str:
    needed_bytes = max(one_sequence_bytes, kv_bytes)
    if one_sequence_bytes > free_bytes:
        return (
            f"one sequence of {context_length} tokens needs {_gib(one_sequence_bytes)} of KV memory, and "
            f"{_gib(max(0, free_bytes))} of {_gib(machine.memory_bytes)} are left beside the weights: "
            "lower model.context_length, use a smaller dtype, or free memory"
        )
    if kv_bytes < one_sequence_bytes:
        return (
            f"engine.kv_memory_bytes ({_gib(kv_bytes)}) cannot hold one sequence of {context_length} tokens "
            f"({_gib(one_sequence_bytes)}): raise it or lower model.context_length"
        )
    return (
        f"engine.kv_memory_bytes ({_gib(needed_bytes)}) is more than the {_gib(max(0, free_bytes))} that are left "
        "beside the weights: lower it"
    )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
