"""The steps of an engine on a rank in this process, and on several beyond a channel: tables that say whose they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.channel.endpoint import bind_private
from cluster.channel.executor import ZmqExecutor
from cluster.channel.rank_server import RankServer
from llama4coder.calibration.measure import measure_engine
from llama4coder.calibration.own_rank import open_own_rank
from llama4coder.calibration.ranks import MeasuredRanks
from llama4coder.calibration.task import Task
from llama4coder.engine.executor import DoneStep
from llama4coder.errors import ConfigError, EngineDead
from llama4coder.machine import device_name
from llama4coder.parallel.layout import ParallelLayout
from llama4coder.progress import NullProgress
from llama4coder.shape import read_shape
from tests.support.engines import resolved
from tests.support.models import write_tiny_llama
from tests.support.progress import CountingProgress
from tests.support.thread_group import execute_on_all, make_shares

KINDS = {"decode", "prefill", "mixed"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(folder)
    return folder


def task_of(folder: Path, **engine: int) -> Task:
    sizes = {"max_sequences": 4, "max_step_tokens": 32, "context_length": 128, "num_blocks": 64}
    return Task(resolved(folder, **{**sizes, **engine}), read_shape(folder))


@contextmanager
def channel_to_ranks(task: Task, folder: Path) -> Iterator[MeasuredRanks]:
    """Ranks in threads behind the channel of the first."""
    engine = task.config.engine
    layout = ParallelLayout(engine.heads_shards, engine.kv_shards)
    execute = execute_on_all(task.config, make_shares(task.shape, layout))
    folder.chmod(0o700)
    server = RankServer(lambda plan: DoneStep(execute(plan)), lambda socket: bind_private(socket, folder, "r.sock"))
    executor = ZmqExecutor([server.start()], engine.heartbeat_timeout_s)
    yield MeasuredRanks(executor, task.config, ["Abacus 3"] * engine.ranks, num_nodes=2)
    server.stop()
    server.join()


def test_the_only_rank_in_this_process(folder: Path) -> None:
    task, progress = task_of(folder), CountingProgress()
    ranks = open_own_rank(task.config, NullProgress())
    found = measure_engine(task, ranks, progress)
    assert (found.subject.heads_shards, found.subject.kv_shards) == (1, 1)
    assert found.told_machine == found.source.machine == device_name("cpu")
    assert {each.kind for each in found.source.residuals} == KINDS
    assert progress.finished and progress.done == progress.total > 10
    with pytest.raises(EngineDead):
        ranks.executor.collect(0.0)


@pytest.mark.parametrize(("kv_shards", "layout"), [(1, (2, 1)), (2, (1, 2))])
def test_two_ranks_beyond_a_channel(folder: Path, tmp_path: Path, kv_shards: int, layout: tuple[int, int]) -> None:
    task = task_of(folder, ranks=2, kv_shards=kv_shards)
    with channel_to_ranks(task, tmp_path) as ranks:
        found = measure_engine(task, ranks, NullProgress())
        with pytest.raises(EngineDead):
            ranks.executor.collect(0.0)
    assert (found.subject.heads_shards, found.subject.kv_shards) == layout
    assert found.told_machine == "2 x Abacus 3 on 2 nodes"
    assert "on 2 x Abacus 3 on 2 nodes, 20" in found.told_source
    assert {each.kind for each in found.source.residuals} == KINDS
    found.check(task.subject)
    with pytest.raises(ConfigError, match=r"was made for .*shards"):
        found.check(task_of(folder).subject)


def test_devices_of_two_kinds(folder: Path) -> None:
    task = task_of(folder)
    ranks = open_own_rank(task.config, NullProgress())
    mixed = MeasuredRanks(ranks.executor, task.config, ["Abacus 3", "Abacus 2", "Abacus 3"])
    assert mixed.told_devices == "Abacus 3 and Abacus 2"
    ranks.executor.close()


def test_a_rank_that_dies(folder: Path, tmp_path: Path) -> None:
    def broken(_: object) -> DoneStep:
        raise RuntimeError("broken by the test")

    task, progress = task_of(folder), CountingProgress()
    tmp_path.chmod(0o700)
    server = RankServer(broken, lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], task.config.engine.heartbeat_timeout_s)
    with pytest.raises(EngineDead, match="a rank failed"):
        measure_engine(task, MeasuredRanks(executor, task.config, ["Abacus 3"]), progress)
    assert progress.finished
    server.stop()
    server.join()
