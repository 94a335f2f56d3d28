"""Ranks as processes of their own, as they are in a cluster, but without one: an executor over all of them."""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch

from llama4coder.config import ResolvedConfig
from llama4coder.engine.plan import StepPlan, StepResult
from llama4coder.engine.runner import ModelRunner
from llama4coder.parallel.group import MeetingPlace, join
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.parallel.meeting import Meeting
from llama4coder.parallel.plan import RankPlan
from llama4coder.progress import NullProgress
from llama4coder.shape import ModelShape

TIMEOUT_S = 60.0
LOOPBACK = "127.0.0.1"


class Ranks:
    """Runs a plan on every rank."""

    def __init__(self, pipes: Sequence["Connection[StepPlan, StepResult]"]) -> None:
        self._pipes = pipes

    def execute(self, plan: StepPlan) -> StepResult:
        """The first rank's result; the others must have the same tokens."""
        for pipe in self._pipes:
            pipe.send(plan)
        results = []
        for pipe in self._pipes:
            assert pipe.poll(TIMEOUT_S), "a rank is silent"
            results.append(pipe.recv())
        assert all(
            [row.token_ids for row in other.rows] == [row.token_ids for row in results[0].rows] for other in results
        )
        return results[0]


@contextmanager
def running_ranks(config: ResolvedConfig, shape: ModelShape, layout: ParallelLayout) -> Iterator[Ranks]:
    """Processes that meet, load their shares, and end with the context."""
    spawn = multiprocessing.get_context("spawn")
    place = MeetingPlace(LOOPBACK, TIMEOUT_S)
    pipes, processes = [], []
    for rank in range(layout.num_ranks):
        ours, theirs = spawn.Pipe()
        arguments = (theirs, config, RankPlan(shape, layout, rank), place.meeting)
        processes.append(spawn.Process(target=_run_rank, args=arguments, daemon=True))
        pipes.append(ours)
    try:
        for process in processes:
            process.start()
        yield Ranks(pipes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run_rank(
    pipe: "Connection[StepResult, StepPlan]", config: ResolvedConfig, plan: RankPlan, meeting: Meeting
) -> None:
    share = join(meeting, plan, LOOPBACK, torch.device("cpu"), TIMEOUT_S)
    runner = ModelRunner.load_share(config, share, NullProgress())
    while True:
        pipe.send(runner.execute(pipe.recv()))
