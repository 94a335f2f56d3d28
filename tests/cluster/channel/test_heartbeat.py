"""Who is dead and who is only busy, with ranks in processes of their own."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from cluster.channel.endpoint import Endpoint, bind_encrypted, bind_private
from cluster.channel.executor import ZmqExecutor
from cluster.channel.rank_server import RankServer
from llama4coder.engine.executor import DoneStep
from llama4coder.engine.plan import StepPlan
from llama4coder.errors import EngineDead
from tests.support.executor_contract import echo, plan_of

TIMEOUT_S = 1.0  # of the heartbeat
NEVER_S = 600.0
GREEDY = 99  # the step that keeps the interpreter to itself


def compute(plan: StepPlan) -> DoneStep:
    if plan.step_id == GREEDY:
        ctypes.PyDLL(None).usleep(int(2e6 * TIMEOUT_S))  # without releasing the interpreter's lock
    return DoneStep(echo(plan))


def serve(pipe: "Connection[Endpoint, None]", folder: Path | None) -> None:
    server = RankServer(
        compute, lambda socket: bind_private(socket, folder, "r") if folder else bind_encrypted(socket, "127.0.0.1")
    )
    pipe.send(server.start())
    server.join()


@contextmanager
def running_rank(folder: Path | None) -> Iterator[tuple[Endpoint, int]]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, folder), daemon=True)
    process.start()
    try:
        assert ours.poll(60), "the rank is silent"
        assert process.pid is not None
        yield ours.recv(), process.pid
    finally:
        process.kill()
        process.join()


@pytest.fixture(params=["private", "encrypted"])
def rank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Endpoint, int]]:
    with running_rank(tmp_path if request.param == "private" else None) as rank:
        yield rank


@pytest.fixture
def executor(rank: tuple[Endpoint, int]) -> Iterator[ZmqExecutor]:
    executor = ZmqExecutor([rank[0]], TIMEOUT_S)
    executor.submit(plan_of(1))
    executor.collect(60)
    yield executor
    executor.close()


def until_it_raises(check: Callable[[], None]) -> None:
    deadline_s = time.monotonic() + 60
    with pytest.raises(EngineDead, match="gone"):
        while time.monotonic() < deadline_s:
            check()
            time.sleep(0.05)


@pytest.mark.parametrize("loss", [signal.SIGSTOP, signal.SIGKILL])
def test_a_step_of_a_frozen_or_killed_rank_is_given_up(
    executor: ZmqExecutor, rank: tuple[Endpoint, int], loss: signal.Signals
) -> None:
    os.kill(rank[1], loss)
    executor.submit(plan_of(2))
    with pytest.raises(EngineDead, match="gone"):
        executor.collect(NEVER_S)


@pytest.mark.parametrize("loss", [signal.SIGSTOP, signal.SIGKILL])
def test_an_idle_executor_tells_another_thread(
    executor: ZmqExecutor, rank: tuple[Endpoint, int], loss: signal.Signals
) -> None:
    executor.check()
    os.kill(rank[1], loss)
    watcher = threading.Thread(target=until_it_raises, args=(executor.check,))
    watcher.start()
    watcher.join(60)
    assert not watcher.is_alive()
    until_it_raises(executor.check)


def test_a_rank_that_computes_is_not_given_up_however_long_it_takes(executor: ZmqExecutor) -> None:
    executor.submit(plan_of(GREEDY))
    assert executor.collect(60) == echo(plan_of(GREEDY))
    executor.check()


def test_an_idle_rank_is_not_given_up(executor: ZmqExecutor) -> None:
    time.sleep(2 * TIMEOUT_S)
    executor.check()
