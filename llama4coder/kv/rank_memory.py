"""All that one rank keeps in memory, as it is predicted and as it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from llama4coder.exclusions import Exclusions
from llama4coder.kv.sizing import kv_bytes_per_block, kv_tail_bytes, weight_bytes
from llama4coder.kv.step_sizing import (
    ServedForm,
    StepLimits,
    activation_bytes,
    buffer_bytes,
    graph_bytes,
    runtime_bytes,
    sampler_bytes,
)
from llama4coder.obs.stats import MemoryPart
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolved import ResolvedConfig


@dataclass(frozen=True, slots=True)
class RankMemory:
    """A prediction: bytes on one rank's device, part by part."""

    runtime: int
    weights: int
    buffers: int
    activations: int
    sampler: int
    graphs: int
    kv_tails: int
    kv_blocks: int

    @classmethod
    def of(cls, plan: RankPlan, form: ServedForm, limits: StepLimits, num_blocks: int = 0) -> "RankMemory":
        """With a pool of so many blocks."""
        tails = kv_tail_bytes(plan, form.dtype, form.kv_format, limits.max_sequences, limits.max_draft_tokens)
        block_bytes = kv_bytes_per_block(plan, form.dtype, form.kv_format, block_bounds=form.block_bounds)
        return cls(
            runtime=runtime_bytes(plan, form.device),
            weights=weight_bytes(plan, form.dtype, form.quant, form.exclusions),
            buffers=buffer_bytes(plan, form, limits),
            activations=activation_bytes(plan, form, limits),
            sampler=sampler_bytes(plan, limits),
            graphs=graph_bytes(plan, form, limits),
            kv_tails=tails,
            kv_blocks=num_blocks * block_bytes,
        )

    @property
    def step(self) -> int:
        """What the largest step needs in passing."""
        return self.activations + self.sampler

    @property
    def kv(self) -> int:
        return self.kv_tails + self.kv_blocks

    @property
    def total(self) -> int:
        return sum(self.by_part().values())

    def by_part(self) -> Mapping[MemoryPart, int]:
        """In the parts that can be measured."""
        return {
            MemoryPart.RUNTIME: self.runtime,
            MemoryPart.WEIGHTS: self.weights,
            MemoryPart.BUFFERS: self.buffers,
            MemoryPart.STEP: self.step,
            MemoryPart.GRAPHS: self.graphs,
            MemoryPart.KV: self.kv,
        }


@dataclass(frozen=True, slots=True)
class LoadedMemory:
    """Measured on a rank that has its weights and has run the largest step, and has no pool yet."""

    runtime: int
    weights: int
    buffers: int
    step: int  # at its worst moment

    @property
    def total(self) -> int:
        return self.runtime + self.weights + self.buffers + self.step


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """Measured on a rank that has its pool."""

    kv: int
    graphs: int
    reused: int = 0  # of what counted as runtime: gaps between weights, in which a part of the pool lies


def form_of(config: ResolvedConfig) -> ServedForm:
    """How the target is kept."""
    model, engine = config.model, config.engine
    exclusions = Exclusions(model.quant_exclude)
    return ServedForm(model.dtype, model.quant, engine.kv_format, engine.device, engine.block_bounds, exclusions)


def limits_of(config: ResolvedConfig) -> StepLimits:
    """How large the target's steps may be."""
    engine = config.engine
    return StepLimits(
        context_length=config.model.context_length,
        max_sequences=engine.max_sequences,
        max_step_tokens=engine.max_step_tokens,
        max_draft_tokens=config.speculation.most_draft_tokens,
    )
