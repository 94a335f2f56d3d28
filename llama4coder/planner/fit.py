"""Whether a replica fits its GPUs, and by how much: the engine's own budget, asked before there is a GPU."""

from dataclasses import dataclass

from llama4coder.kv.budget import Budget
from llama4coder.kv.demand import Demand
from llama4coder.kv.rank_memory import RankMemory
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.planner.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Fit:
    """Of the fullest rank; bytes."""

    candidate: Candidate
    demand: Demand
    budget: Budget

    @classmethod
    def of(cls, candidate: Candidate) -> "Fit":
        demand = Demand.of(candidate.model.shape, candidate.layout, candidate.form, candidate.limits)
        limit_bytes = int(candidate.gpu.memory_bytes * candidate.memory_share)
        return cls(candidate, demand, Budget(limit_bytes, None, candidate.num_gpus))

    @property
    def memory(self) -> RankMemory:
        """All but the blocks."""
        return self.demand.memory

    @property
    def spare_bytes(self) -> int:
        """What is left beside one sequence of the served context; negative: what is missing."""
        return self.budget.room(self.demand) - self.demand.one_sequence_bytes

    @property
    def does_fit(self) -> bool:
        return self.spare_bytes >= 0

    @property
    def num_blocks(self) -> int:
        """Of each KV shard; none where not even one sequence fits."""
        return self.budget.room(self.demand) // self.demand.block_bytes if self.does_fit else 0

    @property
    def pool_bytes(self) -> int:
        return self.num_blocks * self.demand.block_bytes

    @property
    def reserve_bytes(self) -> int:
        """Of the GPU, outside the budget."""
        return self.candidate.gpu.memory_bytes - self.budget.limit_bytes

    def num_sequences(self, num_tokens: int) -> int:
        """Sequences of so many tokens that the pool holds at once, however many a step may compute."""
        return self.num_blocks // num_blocks_for(num_tokens, self.candidate.layout.kv_shards)
