"""What one rank has of a model, and whom it computes the rest with."""

from dataclasses import dataclass

from llama4coder.parallel.comm import Alone, Communicator
from llama4coder.parallel.plan import RankPlan
from llama4coder.shape import ModelShape


@dataclass(frozen=True, slots=True)
class RankShare:
    """One rank of a replica."""

    plan: RankPlan
    ranks: Communicator  # all of the replica
    kv_ranks: Communicator  # those that hold the same heads

    @classmethod
    def whole(cls, shape: ModelShape) -> "RankShare":
        """The only rank of its replica."""
        return cls(RankPlan.alone(shape), Alone(), Alone())
