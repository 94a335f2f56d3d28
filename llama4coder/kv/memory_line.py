"""What a start says about memory: numbers, and one line."""

from dataclasses import replace

from llama4coder.kv.demand import Demand
from llama4coder.kv.rank_memory import LoadedMemory, PoolMemory
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.obs.stats import MemoryPart, MemoryStats
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape

_MIB = 2**20
_NOTABLE_SHARE = 0.25  # of a prediction that was off by so much


def memory_stats(config: ResolvedConfig, shape: ModelShape, loaded: LoadedMemory, pool: PoolMemory) -> MemoryStats:
    """What was meant and what came of it, on a rank with the pool of `config`."""
    predicted = replace(Demand.of_config(config, shape).memory, kv_blocks=config.engine.kv_bytes_per_rank)
    actual = {
        MemoryPart.RUNTIME: loaded.runtime - pool.reused,
        MemoryPart.WEIGHTS: loaded.weights,
        MemoryPart.BUFFERS: loaded.buffers,
        MemoryPart.STEP: loaded.step,
        MemoryPart.GRAPHS: pool.graphs,
        MemoryPart.KV: pool.kv,
    }
    return MemoryStats(predicted.by_part(), actual)


def told_memory(config: ResolvedConfig, memory: MemoryStats) -> str:
    """The parts of the fullest rank as they were measured, the pool, and what it holds; and a bad prediction."""
    engine, context_length = config.engine, config.model.context_length
    parts = [f"{part.value} {_mib(memory.actual[part])}" for part in MemoryPart if memory.actual[part]]
    num_held = engine.num_blocks // num_blocks_for(context_length, engine.kv_shards)
    line = (
        f"a rank takes {_mib(sum(memory.actual.values()))} of {_mib(engine.memory_budget_bytes)} ({', '.join(parts)}); "
        f"its pool has {engine.num_blocks} blocks, for {num_held} sequences of {context_length} tokens"
    )
    return "; ".join([line, *_told_graphs(memory)])


def _told_graphs(memory: MemoryStats) -> list[str]:
    """They are the one part for which the pool had to trust the prediction."""
    predicted, actual = memory.predicted[MemoryPart.GRAPHS], memory.actual[MemoryPart.GRAPHS]
    if abs(actual - predicted) <= _NOTABLE_SHARE * predicted:
        return []
    return [f"graphs were predicted to take {_mib(predicted)}"]


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / _MIB:.0f} MiB"
