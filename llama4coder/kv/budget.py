"""How many blocks the budget of a rank leaves for the pool, and what to say where that is too few.

The same rules hold before the start, for what is predicted, and when every rank has its weights and has run the largest
step, for what was measured: the fullest rank decides for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llama4coder.errors import NotEnoughMemory
from llama4coder.kv.demand import Demand
from llama4coder.kv.rank_memory import LoadedMemory
from llama4coder.kv.what_fits import advice
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Budget:
    """What a rank may take."""

    limit_bytes: int  # in all
    pool_bytes: int | None  # for blocks, where the operator says how much; None: all that is left
    num_ranks: int  # for which the limit holds
    excess_bytes: int = 0  # how much more than predicted was measured

    @classmethod
    def of_config(cls, config: ResolvedConfig) -> "Budget":
        """That of a target as it is served."""
        engine = config.engine
        return cls(engine.memory_budget_bytes, engine.kv_memory_bytes, engine.ranks)

    def left(self, demand: Demand) -> int:
        """Bytes beside all but the pool, negative where not even that fits; more ranks on CPUs have no more in all."""
        limit_bytes = self.limit_bytes
        if demand.form.device == "cpu":
            limit_bytes = limit_bytes * self.num_ranks // max(self.num_ranks, demand.layout.num_ranks)
        return limit_bytes - demand.memory.total - self.excess_bytes

    def room(self, demand: Demand) -> int:
        """Bytes that the pool gets."""
        left = self.left(demand)
        return left if self.pool_bytes is None else min(self.pool_bytes, left)

    def num_blocks(self, demand: Demand) -> int:
        """Blocks of the pool.

        Raises:
            NotEnoughMemory: they cannot hold one sequence of the served context; says what could.
        """
        left, needed, pool = self.left(demand), demand.one_sequence_bytes, self.pool_bytes
        if pool is not None and pool < needed:
            raise NotEnoughMemory(
                f"engine.kv_memory_bytes ({_gib(pool)}) cannot hold {self._sequence(demand)}: raise it, or "
                f"{advice(demand, self.room)}"
            )
        if left < needed:
            raise NotEnoughMemory(
                f"{self._beside(demand)}, which cannot hold {self._sequence(demand)}: {advice(demand, self.room)}"
            )
        if pool is not None and pool > left:
            raise NotEnoughMemory(
                f"engine.kv_memory_bytes ({_gib(pool)}) is too much: {self._beside(demand)}; lower it"
            )
        return self.room(demand) // demand.block_bytes

    def _beside(self, demand: Demand) -> str:
        memory = demand.memory
        others = memory.total - memory.weights + self.excess_bytes
        return (
            f"of the {_gib(self.limit_bytes)} that a rank may take, {_gib(max(0, self.left(demand)))} are left beside "
            f"{_gib(memory.weights)} of weights and {_gib(others)} of all else"
        )

    def _sequence(self, demand: Demand) -> str:
        return f"one sequence of {demand.limits.context_length} tokens ({_gib(demand.one_sequence_bytes)} on a rank)"


def settle_pool(config: ResolvedConfig, shape: ModelShape, measured: Sequence[LoadedMemory]) -> ResolvedConfig:
    """The configuration with the pool that every rank has room for.

    CUDA graphs cannot be measured before there is a pool: for them the prediction counts.

    Raises:
        NotEnoughMemory: it cannot hold one sequence of the served context; says what could.
    """
    demand = Demand.of_config(config, shape)
    predicted = demand.memory.total - demand.memory.graphs - demand.memory.kv_tails
    excess_bytes = max(memory.total for memory in measured) - predicted
    num_blocks = replace(Budget.of_config(config), excess_bytes=excess_bytes).num_blocks(demand)
    return with_pool(config, num_blocks, num_blocks * demand.block_bytes)


def with_pool(config: ResolvedConfig, num_blocks: int, kv_bytes: int) -> ResolvedConfig:
    """The configuration with a pool of so many blocks on each rank."""
    pool = {"num_blocks": num_blocks, "kv_bytes_per_rank": kv_bytes}
    return config.model_copy(update={"engine": config.engine.model_copy(update=pool)})


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
