"""Ranks as threads of one process: a communicator, and an executor over a group of runners."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from llama4coder.engine.loading_rank import load_share
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.parallel.comm import Alone, Communicator
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.plan import RankPlan
from llama4coder.parallel.share import RankShare
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig
from llama4coder.shape import ModelShape

_TIMEOUT_S = 60.0


class _Meeting:
    """Where the threads of a group leave what they have for each other."""

    def __init__(self, size: int, timeout_s: float) -> None:
        self.left: list[Tensor] = [torch.empty(0)] * size
        self.barrier = threading.Barrier(size, timeout=timeout_s)


class ThreadGroup:
    """Implements `Communicator` for one of several threads."""

    def __init__(self, meeting: _Meeting, index: int) -> None:
        self._meeting = meeting
        self.index = index
        self.size = len(meeting.left)

    @classmethod
    def of(cls, size: int, timeout_s: float = _TIMEOUT_S) -> list["ThreadGroup"]:
        meeting = _Meeting(size, timeout_s)
        return [cls(meeting, index) for index in range(size)]

    def sum(self, x: Tensor) -> Tensor:
        return self.gather(x).sum(0)

    def gather(self, x: Tensor) -> Tensor:
        self._meeting.left[self.index] = x.clone()
        self._meeting.barrier.wait()
        gathered = torch.stack(self._meeting.left)
        self._meeting.barrier.wait()
        return gathered

    def exchange(self, x: Tensor) -> Tensor:
        return self.gather(x)[:, self.index].contiguous()


def make_shares(shape: ModelShape, layout: ParallelLayout) -> list[RankShare]:
    """The shares of all ranks of a replica."""
    ranks: Sequence[Communicator] = ThreadGroup.of(layout.num_ranks) if layout.num_ranks > 1 else [Alone()]
    groups = {
        group: ThreadGroup.of(layout.kv_shards) if layout.kv_shards > 1 else [Alone()]
        for group in {layout.kv_group(rank) for rank in range(layout.num_ranks)}
    }
    return [
        RankShare(RankPlan(shape, layout, rank), ranks[rank], groups[layout.kv_group(rank)][layout.kv_part(rank).index])
        for rank in range(layout.num_ranks)
    ]


def execute_on_all(config: ResolvedConfig, shares: Sequence[RankShare]) -> Callable[[StepPlan], StepResult]:
    """Load every rank; the function runs a plan on all of them and returns the first one's result."""
    pool = ThreadPoolExecutor(len(shares))
    runners = list(pool.map(lambda share: load_share(config, share, NullProgress()), shares))

    def execute(plan: StepPlan) -> StepResult:
        results = list(pool.map(lambda runner: runner.execute(plan), runners))
        tokens = [[row.token_ids for row in result.rows] for result in results]
        assert all(other == tokens[0] for other in tokens), "the ranks do not agree on the tokens"
        return results[0]

    return execute
