"""Ranks as processes of their own, as they are in a cluster, but without one: their rank channels."""

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cluster.channel.endpoint import Endpoint
from cluster.channel.rank_server import RankServer
from cluster.rank import RankTask
from llama4coder.engine.loading_rank import load_share
from llama4coder.parallel.group import MeetingPlace, join
from llama4coder.progress import NullProgress
from llama4coder.resolved import ResolvedConfig

TIMEOUT_S = 60.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RunningRank:
    """A rank that serves; `loaded_bytes` is by how much its process grew as it loaded."""

    endpoint: Endpoint
    loaded_bytes: int


@contextmanager
def running_ranks(config: ResolvedConfig) -> Iterator[list[RunningRank]]:
    """The ranks of a replica, which end with the context."""
    spawn = multiprocessing.get_context("spawn")
    place = MeetingPlace(LOOPBACK, TIMEOUT_S)
    pipes, processes = [], []
    with tempfile.TemporaryDirectory(prefix="rank-") as folder:
        for rank in range(config.engine.ranks):
            ours, theirs = spawn.Pipe()
            task = RankTask(config, rank, place.meeting, Path(folder))
            processes.append(spawn.Process(target=_run_rank, args=(theirs, task), daemon=True))
            processes[-1].start()
            pipes.append(ours)
        try:
            assert all(pipe.poll(TIMEOUT_S) for pipe in pipes), "a rank is silent"
            yield [pipe.recv() for pipe in pipes]
        finally:
            for process in processes:
                process.kill()
                process.join()


def _run_rank(pipe: "Connection[RunningRank, None]", task: RankTask) -> None:
    assert task.meeting is not None
    share = join(task.meeting, task.plan, LOOPBACK, torch.device("cpu"), TIMEOUT_S)
    before_bytes = _own_bytes()
    runner = load_share(task.config, share, NullProgress())
    loaded_bytes = _own_bytes() - before_bytes
    server = RankServer(runner.launch, task.bind, answers=task.rank == 0)
    pipe.send(RunningRank(server.start(), loaded_bytes))
    server.join()


def _own_bytes() -> int:
    """What this process holds in memory of its own; mapped files are not part of it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024
