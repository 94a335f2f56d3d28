"""A rank on its way to work: weights, then the largest step, then as many blocks as every rank has room for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from llama4coder.checkpoint.checksums import check_checksums
from llama4coder.constraint.vocabulary import GrammarVocabulary
from llama4coder.engine.constraints import HeldOutputs
from llama4coder.engine.forward import EagerPass
from llama4coder.engine.hardware import choose_forward, choose_kernels, choose_sampler, prepare_device
from llama4coder.engine.largest_step import largest_steps
from llama4coder.engine.memory_meter import MemoryMeter, meter_for
from llama4coder.engine.rank_state import RankState
from llama4coder.engine.runner import ModelRunner
from llama4coder.gpu.graph_sizes import GraphSizes
from llama4coder.kv.budget import settle_pool
from llama4coder.kv.formats.allocate import allocate_kv
from llama4coder.kv.formats.tail import TailSize
from llama4coder.kv.host import HostBlocks
from llama4coder.kv.memory_line import memory_stats
from llama4coder.kv.rank_memory import LoadedMemory, PoolMemory, limits_of
from llama4coder.kv.sizing import num_blocks_for, tail_tokens
from llama4coder.kv.step_sizing import count_bytes
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.kernels import Kernels
from llama4coder.models.llama import Llama
from llama4coder.models.loader import load_llama
from llama4coder.models.weights import Placement
from llama4coder.obs.stats import MemoryStats
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.parallel.vocabulary import ShardedVocabulary
from llama4coder.progress import Progress
from llama4coder.resolved import ResolvedConfig
from llama4coder.sampling.sampler import Sampler
from llama4coder.shape import read_shape
from llama4coder.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ReadyRank:
    """A rank that can execute plans."""

    runner: ModelRunner
    memory: PoolMemory


class LoadingRank:
    """Weights and no blocks yet; the ranks of a replica `measure` and `allocate` at the same time."""

    def __init__(
        self,
        config: ResolvedConfig,
        plan: RankPlan,
        placement: Placement,
        parts: "_Parts",
        meter: MemoryMeter,
        memory: LoadedMemory,
    ) -> None:
        self._config = config
        self._plan = plan
        self._placement = placement
        self._parts = parts
        self._meter = meter
        self._memory = memory  # its step is not known yet

    @classmethod
    def load(cls, config: ResolvedConfig, share: RankShare, meter: MemoryMeter, progress: Progress) -> "LoadingRank":
        """Read one rank's weights; the first rank verifies them if they are to be. Raises `CheckpointError`."""
        folder, context_length = Path(config.model.path), config.model.context_length
        if config.model.verify and share.plan.rank == 0:
            check_checksums(folder, progress)

        def read(kernels: Kernels, placement: Placement) -> Llama:
            return load_llama(folder, share, context_length, kernels, placement, progress)

        return cls.build(config, share, meter, read)

    @classmethod
    @torch.inference_mode()
    def build(
        cls, config: ResolvedConfig, share: RankShare, meter: MemoryMeter, read: Callable[[Kernels, Placement], Llama]
    ) -> "LoadingRank":
        """With the weights that `read` gives."""
        torch.set_num_threads(config.engine.num_threads)
        placement = Placement.of(config.model.dtype, config.engine.device, config.model.quant_exclude)
        prepare_device(placement.device)
        engine = config.engine
        kernels = choose_kernels(
            placement, config.model.quant, engine.num_threads, engine.kv_format, engine.block_bounds
        )
        before_bytes = meter.held_bytes()
        model = read(kernels, placement)
        weight_bytes = meter.held_bytes() - before_bytes
        state = _state(config, share.plan, placement.device)
        sampler = choose_sampler(placement, config.engine.num_threads, ShardedVocabulary.of(share))
        held = _held_outputs(config, share.plan)
        buffer_bytes = meter.held_bytes() - before_bytes - weight_bytes
        runtime_bytes = meter.now_bytes() - weight_bytes - buffer_bytes
        buffer_bytes += count_bytes(share.plan.shape, config.engine.max_sequences)  # which come with their sequences
        memory = LoadedMemory(runtime_bytes, weight_bytes, buffer_bytes, 0)
        return cls(config, share.plan, placement, _Parts(model, state, sampler, held), meter, memory)

    @torch.inference_mode()
    def measure(self) -> LoadedMemory:
        """Run the largest step, and say what the rank takes at its worst moment.

        A CPU computes one layer of each kind only: all layers need the same memory in turn, and it takes minutes for a
        large model's whole context.
        """
        model, plan = self._parts.model, self._plan
        if self._placement.device.type == "cpu":
            indices = self._placement.exclusions.distinct_layers(plan.shape.num_layers)
            model = replace(model, layers=tuple(model.layers[index] for index in indices))
            plan = replace(plan, shape=replace(plan.shape, num_layers=len(indices)))
        before_bytes = self._meter.now_bytes()
        kv = self._allocate_kv(plan, 1)
        kv_bytes = self._meter.now_bytes() - before_bytes
        self._meter.restart_peak()
        self._run_largest(ModelRunner(self._parts.state, EagerPass(model, kv, self._parts.state), self._parts.sampler))
        taken_bytes = self._memory.total - count_bytes(self._plan.shape, self._config.engine.max_sequences)
        return replace(self._memory, step=self._meter.peak_bytes() - kv_bytes - taken_bytes)

    @torch.inference_mode()
    def allocate(self, num_blocks: int) -> ReadyRank:
        """Take the pool, and on a GPU record graphs, which keep its addresses, and run the largest step once more: from
        now on nothing is allocated that was not allocated before.
        """
        before_bytes, before_held_bytes = self._meter.now_bytes(), self._meter.held_bytes()
        kv = self._allocate_kv(self._plan, num_blocks)
        kv_bytes = self._meter.held_bytes() - before_held_bytes
        taken_bytes = self._meter.now_bytes()
        reused_bytes = max(0, kv_bytes - (taken_bytes - before_bytes))
        limits = limits_of(self._config)
        sizes = GraphSizes.to_verify(limits.max_sequences, limits.max_draft_tokens)
        forward = choose_forward(self._parts.model, kv, self._parts.state, sizes)
        graph_bytes = self._meter.now_bytes() - taken_bytes
        runner = ModelRunner(self._parts.state, forward, self._parts.sampler, self._host_blocks(kv), self._parts.held)
        if self._placement.device.type == "cuda":
            self._run_largest(runner)
        return ReadyRank(runner, PoolMemory(kv_bytes, graph_bytes, reused_bytes))

    def _allocate_kv(self, plan: RankPlan, num_blocks: int) -> list[LayerKV]:
        limits = limits_of(self._config)
        tails = TailSize(limits.max_sequences, tail_tokens(limits.max_draft_tokens))
        engine = self._config.engine
        return allocate_kv(plan, num_blocks, self._placement, engine.kv_format, tails, engine.block_bounds)

    def _host_blocks(self, kv: list[LayerKV]) -> HostBlocks | None:
        num_slots, shard = self._config.engine.num_host_blocks, self._parts.state.shard
        return (
            HostBlocks([tensor for layer in kv for tensor in layer.per_block], num_slots, shard) if num_slots else None
        )

    def _run_largest(self, runner: ModelRunner) -> None:
        vocab_size, kv_shards = self._plan.shape.vocab_size, self._plan.layout.kv_shards
        for plan in largest_steps(limits_of(self._config), vocab_size, kv_shards):
            runner.execute(plan)


@dataclass(frozen=True, slots=True)
class _Parts:
    model: Llama
    state: RankState
    sampler: Sampler
    held: HeldOutputs


def load_runner(config: ResolvedConfig, progress: Progress) -> ModelRunner:
    """The only rank of its replica; see `load_share`."""
    return load_share(config, RankShare.whole(read_shape(Path(config.model.path), config.model.rope_scaling)), progress)


@dataclass(frozen=True, slots=True)
class AloneRank:
    """The only rank of its replica, with the pool that there was room for."""

    runner: ModelRunner
    config: ResolvedConfig
    memory: MemoryStats


def load_measured(config: ResolvedConfig, meter: MemoryMeter, progress: Progress) -> AloneRank:
    """The only rank of its replica.

    Raises:
        CheckpointError: it cannot be read.
        NotEnoughMemory: what is left cannot hold one sequence of the served context.
    """
    shape = read_shape(Path(config.model.path), config.model.rope_scaling)
    loading = LoadingRank.load(config, RankShare.whole(shape), meter, progress)
    measured = loading.measure()
    settled = settle_pool(config, shape, [measured])
    ready = loading.allocate(settled.engine.num_blocks)
    return AloneRank(ready.runner, settled, memory_stats(settled, shape, measured, ready.memory))


def load_share(config: ResolvedConfig, share: RankShare, progress: Progress) -> ModelRunner:
    """A rank with the pool that was predicted, whether or not there is room for it; raises `CheckpointError`."""
    loading = LoadingRank.load(config, share, meter_for(config.engine.device), progress)
    return loading.allocate(config.engine.num_blocks).runner


def _state(config: ResolvedConfig, plan: RankPlan, device: torch.device) -> RankState:
    max_blocks = num_blocks_for(config.model.context_length)
    return RankState(
        config.engine.max_sequences, max_blocks, plan.shape.vocab_size, device, plan.layout.kv_part(plan.rank)
    )


def _held_outputs(config: ResolvedConfig, plan: RankPlan) -> HeldOutputs:
    """By the folder's own tokens; none where it has no tokenizer, or where nothing ends an output."""
    folder = Path(config.model.path)
    if not (folder / "tokenizer.json").is_file():
        return HeldOutputs(None)
    vocabulary = GrammarVocabulary.of(Tokenizer.from_folder(folder), plan.shape.vocab_size)
    return HeldOutputs(vocabulary, config.engine.num_threads)
