"""What ranks of one layout and form take on this machine, each in a process of its own."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from llama4coder.config import DeploymentConfig, DType, EngineConfig, KVFormat, ModelConfig, QuantFormat
from llama4coder.kv.budget import with_pool
from llama4coder.kv.demand import Demand
from llama4coder.kv.rank_memory import RankMemory, form_of, limits_of
from llama4coder.kv.step_sizing import count_bytes
from llama4coder.machine import Machine
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.resolve import resolve
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape

_MIB, _GIB = 2**20, 2**30
_POOL_BYTES = 256 * _MIB
_MACHINE = Machine("cpu", 64 * _GIB, num_cpus=1, computes_bfloat16=True)


@dataclass(frozen=True, slots=True)
class Form:
    """A layout and the formats of its ranks."""

    heads_shards: int
    kv_shards: int
    dtype: DType
    quant: QuantFormat
    kv_format: KVFormat

    @property
    def layout(self) -> ParallelLayout:
        return ParallelLayout(self.heads_shards, self.kv_shards)

    def __str__(self) -> str:
        return f"{self.layout} {self.dtype} {self.quant} {self.kv_format}"


def resolved(folder: Path, shape: ModelShape, form: Form) -> ResolvedConfig:
    """With a pool of 256 MiB on each rank."""
    config = DeploymentConfig(
        model=ModelConfig(path=str(folder), dtype=form.dtype, quant=form.quant, context_length=2048),
        engine=EngineConfig(
            device="cpu",
            ranks=form.layout.num_ranks,
            kv_shards=form.kv_shards,
            kv_format=form.kv_format,
            kv_memory_bytes=_POOL_BYTES,
            max_sequences=8,
            num_threads=1,
        ),
    )
    found = resolve(config, folder, shape, _MACHINE)
    return with_pool(found, found.engine.num_blocks, found.engine.kv_bytes_per_rank)


def predicted_bytes(config: ResolvedConfig, shape: ModelShape, rank: int) -> int:
    """Weights, tables and KV of one rank; of the tables not the counts, which come with their sequences."""
    demand = Demand.of_config(config, shape)
    plan = RankPlan(shape, demand.layout, rank)
    memory = RankMemory.of(plan, form_of(config), limits_of(config), config.engine.num_blocks)
    return memory.weights + memory.buffers + memory.kv - count_bytes(shape, config.engine.max_sequences)


def allocated_bytes(config: ResolvedConfig, warm: ResolvedConfig, shape: ModelShape, rank: int) -> int:
    """The same as this machine counts it, in a new process that has loaded a tiny model like it before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, config, warm, shape, rank).result()


def _measure(config: ResolvedConfig, warm: ResolvedConfig, shape: ModelShape, rank: int) -> int:
    from llama4coder.engine.loading_rank import LoadingRank
    from llama4coder.engine.memory_meter import meter_for
    from llama4coder.shape import read_shape
    from tests.support.thread_group import make_shares

    meter = meter_for("cpu")

    def load(loaded: ResolvedConfig, its_shape: ModelShape) -> object:
        layout = ParallelLayout(loaded.engine.heads_shards, loaded.engine.kv_shards)
        share = make_shares(its_shape, layout)[rank]
        return LoadingRank.load(loaded, share, meter, NullProgress()).allocate(loaded.engine.num_blocks)

    kept = [load(warm, read_shape(Path(warm.model.path)))]
    before_bytes = meter.now_bytes()
    kept.append(load(config, shape))
    return meter.now_bytes() - before_bytes


def warm_config(folder: Path, shape: ModelShape, form: Form) -> ResolvedConfig:
    """The same form of a tiny model with a few blocks."""
    found = resolved(folder, shape, form)
    return with_pool(found, 8, 8 * found.engine.kv_bytes_per_rank // max(1, found.engine.num_blocks))


def smaller(shape: ModelShape) -> ModelShape:
    """Of the same heads, for warming up."""
    return replace(shape, vocab_size=1024, hidden_size=256, intermediate_size=512, num_layers=1)
