"""What a rank of one layout needs, whatever the size of its pool."""

from dataclasses import dataclass, replace

from llama4coder.config import KVFormat
from llama4coder.kv.rank_memory import RankMemory, form_of, limits_of
from llama4coder.kv.sizing import kv_bytes_per_block, num_blocks_for
from llama4coder.kv.step_sizing import ServedForm, StepLimits
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Demand:
    """Of different ranks the one that needs the most."""

    shape: ModelShape
    layout: ParallelLayout
    form: ServedForm
    limits: StepLimits
    memory: RankMemory  # without blocks
    block_bytes: int

    @classmethod
    def of(cls, shape: ModelShape, layout: ParallelLayout, form: ServedForm, limits: StepLimits) -> "Demand":
        plans = [RankPlan(shape, layout, rank) for rank in range(layout.num_ranks)]
        memories = (RankMemory.of(plan, form, limits) for plan in plans)
        plan = plans[0]  # all have equally many heads
        block_bytes = kv_bytes_per_block(plan, form.dtype, form.kv_format, block_bounds=form.block_bounds)
        return cls(shape, layout, form, limits, max(memories, key=lambda memory: memory.total), block_bytes)

    @classmethod
    def of_config(cls, config: ResolvedConfig, shape: ModelShape) -> "Demand":
        """That of a target as it is served."""
        layout = ParallelLayout(config.engine.heads_shards, config.engine.kv_shards)
        return cls.of(shape, layout, form_of(config), limits_of(config))

    @property
    def one_sequence_bytes(self) -> int:
        """Blocks for the served context, on the fullest shard."""
        return num_blocks_for(self.limits.context_length, self.layout.kv_shards) * self.block_bytes

    def with_context(self, context_length: int) -> "Demand":
        return Demand.of(self.shape, self.layout, self.form, replace(self.limits, context_length=context_length))

    def with_format(self, kv_format: KVFormat) -> "Demand":
        return Demand.of(self.shape, self.layout, replace(self.form, kv_format=kv_format), self.limits)

    def with_layout(self, layout: ParallelLayout) -> "Demand":
        return Demand.of(self.shape, layout, self.form, self.limits)
