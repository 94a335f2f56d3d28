"""The rank channel, both ends in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from cluster.channel.endpoint import Endpoint, bind_encrypted, bind_private
from cluster.channel.executor import ZmqExecutor
from cluster.channel.rank_server import RankServer
from llama4coder.engine.executor import Executor
from llama4coder.engine.plan import NewSequence, StepPlan, StepResult
from llama4coder.errors import EngineDead
from llama4coder.types import SamplingParams
from tests.support.executor_contract import ExecutorContract, MakeExecutor, echo, plan_of

Bind = Callable[["zmq.Socket[Any]"], Endpoint]


def alive() -> bool:
    return True


@pytest.fixture(params=["private", "encrypted"])
def bind(request: pytest.FixtureRequest, tmp_path: Path) -> Bind:
    if request.param == "encrypted":
        return lambda socket: bind_encrypted(socket, "127.0.0.1")
    tmp_path.chmod(0o700)
    return lambda socket: bind_private(socket, tmp_path, "r.sock")


class TestZmqExecutor(ExecutorContract):
    @pytest.fixture
    def make_executor(self, bind: Bind) -> Iterator[MakeExecutor]:
        servers: list[RankServer] = []

        def make(execute: Callable[[StepPlan], StepResult]) -> Executor:
            server = RankServer(execute, bind)
            servers.append(server)
            return ZmqExecutor([server.start()], alive)

        yield make
        for server in servers:
            server.stop()
            server.join()
        assert "rank-server" not in {thread.name for thread in threading.enumerate()}


def test_plan_travels_whole(tmp_path: Path) -> None:
    received: list[StepPlan] = []

    def execute(plan: StepPlan) -> StepResult:
        received.append(plan)
        return echo(plan)

    sampling = SamplingParams(temperature=0.5, logit_bias={3: -1.5}, num_logprobs=2)
    new = NewSequence(4, tuple(range(1000)), 1000, sampling, seed=2**64 - 1, min_tokens=1, stop_token_ids=(2, 9))
    plan = StepPlan(1, gone=(1, 2), new=(new, NewSequence(5, (1,), 1, SamplingParams(), 0, 0, ())), rows=())
    server = RankServer(execute, lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], alive)
    executor.submit(plan)
    executor.collect(10)
    assert received == [plan]
    executor.close()
    server.stop()


def test_every_rank_gets_the_plan_and_must_answer(tmp_path: Path) -> None:
    executed: list[str] = []

    def execute(plan: StepPlan) -> StepResult:
        executed.append(threading.current_thread().name)
        return echo(plan)

    def start(name: str) -> tuple[RankServer, Endpoint]:
        server = RankServer(execute, lambda socket: bind_private(socket, tmp_path, name))
        return server, server.start()

    (first, first_endpoint), (second, second_endpoint) = start("a"), start("b")
    executor = ZmqExecutor([first_endpoint, second_endpoint], alive)
    executor.submit(plan_of(1))
    assert executor.collect(10).step_id == 1
    assert len(executed) == 2
    second.stop()
    second.join()
    executor.submit(plan_of(2))
    with pytest.raises(EngineDead, match="in time"):
        executor.collect(0.3)
    executor.close()
    first.stop()


def test_vanished_rank_is_noticed_before_the_deadline(tmp_path: Path) -> None:
    is_alive = threading.Event()
    is_alive.set()
    server = RankServer(echo, lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], is_alive.is_set)
    server.stop()
    server.join()
    executor.submit(plan_of(1))
    threading.Timer(0.2, is_alive.clear).start()
    start_s = time.monotonic()
    with pytest.raises(EngineDead, match="gone"):
        executor.collect(60)
    assert time.monotonic() - start_s < 5
    executor.close()


def test_answer_to_another_step_is_refused(tmp_path: Path) -> None:
    server = RankServer(lambda plan: StepResult(99, (), 0.0), lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], alive)
    executor.submit(plan_of(1))
    with pytest.raises(EngineDead, match="step 99 instead of 1"):
        executor.collect(10)
    executor.close()
    server.stop()


def test_damaged_frames_end_the_rank_with_a_reason(tmp_path: Path) -> None:
    server = RankServer(echo, lambda socket: bind_private(socket, tmp_path, "r.sock"))
    endpoint = server.start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.DEALER) as socket:
        socket.connect(endpoint.address)
        socket.send(b"\xc1")
        assert socket.poll(5000)
        assert b"damaged plan" in socket.recv()
    context.term()
    server.join()


def test_unbindable_channel_says_so(tmp_path: Path) -> None:
    server = RankServer(echo, lambda socket: bind_private(socket, tmp_path / "missing", "r.sock"))
    with pytest.raises(OSError, match="could not be bound"):
        server.start()


def test_peer_without_the_key_reaches_nobody() -> None:
    executed: list[int] = []

    def execute(plan: StepPlan) -> StepResult:
        executed.append(plan.step_id)
        return echo(plan)

    server = RankServer(execute, lambda socket: bind_encrypted(socket, "127.0.0.1"))
    endpoint = server.start()
    wrong_key, _ = zmq.curve_keypair()
    for key in (None, wrong_key):
        executor = ZmqExecutor([Endpoint(endpoint.address, key)], alive)
        executor.submit(plan_of(1))
        with pytest.raises(EngineDead):
            executor.collect(0.3)
        executor.close()
    assert executed == []
    server.stop()
    server.join()
