"""The rank channel, both ends in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import zmq

from cluster.channel.endpoint import Endpoint, bind_encrypted, bind_private
from cluster.channel.executor import ZmqExecutor
from cluster.channel.rank_server import RankServer
from llama4coder.engine.executor import DoneStep, Executor, LaunchedStep
from llama4coder.engine.plan import NewSequence, StepPlan, StepResult
from llama4coder.errors import EngineDead
from llama4coder.kv.host_tier import BlockMove
from llama4coder.types import SamplingParams
from tests.support.executor_contract import Execute, ExecutorContract, MakeExecutor, StalledRank, broken, echo, plan_of

HEARTBEAT_TIMEOUT_S = 5.0

Bind = Callable[["zmq.Socket[Any]"], Endpoint]


class StartRank(Protocol):
    def __call__(self, execute: Execute, *, answers: bool) -> Endpoint: ...


def immediate(execute: Execute) -> Callable[[StepPlan], LaunchedStep]:
    return lambda plan: DoneStep(execute(plan))


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

        def make(execute: Execute) -> Executor:
            server = RankServer(immediate(execute), bind)
            servers.append(server)
            return ZmqExecutor([server.start()], HEARTBEAT_TIMEOUT_S)

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
    plan = replace(plan, saves=(BlockMove(4, 0), BlockMove(3, 1)), loads=(BlockMove(4, 2),))
    server = RankServer(immediate(execute), lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], HEARTBEAT_TIMEOUT_S)
    executor.submit(plan)
    executor.collect(10)
    assert received == [plan]
    executor.close()
    server.stop()


@pytest.fixture
def start_rank(tmp_path: Path) -> Iterator[StartRank]:
    servers: list[RankServer] = []

    def start(execute: Execute, *, answers: bool) -> Endpoint:
        name = f"{len(servers)}.sock"
        server = RankServer(immediate(execute), lambda socket: bind_private(socket, tmp_path, name), answers=answers)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()
        server.join()


def test_every_rank_gets_the_plan_and_the_first_one_answers(start_rank: StartRank) -> None:
    executed: list[tuple[int, int]] = []

    def rank(number: int) -> Execute:
        def execute(plan: StepPlan) -> StepResult:
            executed.append((number, plan.step_id))
            return StepResult(plan.step_id, (), float(number))

        return execute

    executor = ZmqExecutor([start_rank(rank(number), answers=number == 0) for number in range(3)], HEARTBEAT_TIMEOUT_S)
    for step_id in range(4):
        executor.submit(plan_of(step_id))
        assert executor.collect(10) == StepResult(step_id, (), 0.0)
    executor.submit(plan_of(4))
    executor.submit(plan_of(5))
    assert [executor.collect(10).step_id for _ in range(2)] == [4, 5]
    deadline_s = time.monotonic() + 5
    while len(executed) < 18 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert sorted(executed) == [(number, step_id) for number in range(3) for step_id in range(6)]
    assert not executor.ready(0.1), "the others are silent"
    executor.close()


def test_a_silent_rank_that_fails_says_so_at_once(start_rank: StartRank) -> None:
    stalled = StalledRank()
    executor = ZmqExecutor(
        [start_rank(stalled.execute, answers=True), start_rank(broken, answers=False)], HEARTBEAT_TIMEOUT_S
    )
    executor.submit(plan_of(1))
    assert executor.ready(10)
    with pytest.raises(EngineDead, match="ArithmeticError"):
        executor.collect(10)
    stalled.release.set()
    executor.close()


class Device:
    """Steps that run until they are told to end."""

    def __init__(self) -> None:
        self.launched: list[int] = []
        self.done = threading.Event()

    def launch(self, plan: StepPlan) -> "DeviceStep":
        self.launched.append(plan.step_id)
        return DeviceStep(self, plan)


class DeviceStep:
    def __init__(self, device: Device, plan: StepPlan) -> None:
        self._device = device
        self._plan = plan

    def is_done(self) -> bool:
        return self._device.done.is_set()

    def result(self) -> StepResult:
        self._device.done.wait(10)
        return echo(self._plan)


def test_the_next_step_is_launched_while_one_runs(tmp_path: Path) -> None:
    device = Device()
    server = RankServer(device.launch, lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], HEARTBEAT_TIMEOUT_S)
    executor.submit(plan_of(1))
    assert not executor.ready(0.1)
    executor.submit(plan_of(2))
    assert not executor.ready(0.2)
    assert device.launched == [1, 2]
    device.done.set()
    assert [executor.collect(10).step_id for _ in range(2)] == [1, 2]
    executor.close()
    server.stop()
    server.join()


def test_a_rank_that_ends_is_noticed_before_the_deadline(tmp_path: Path) -> None:
    server = RankServer(immediate(echo), lambda socket: bind_private(socket, tmp_path, "r.sock"))
    executor = ZmqExecutor([server.start()], HEARTBEAT_TIMEOUT_S)
    executor.submit(plan_of(1))
    assert executor.collect(10) == echo(plan_of(1))
    executor.check()
    server.stop()
    server.join()
    executor.submit(plan_of(2))
    with pytest.raises(EngineDead, match="gone"):
        executor.collect(600)
    with pytest.raises(EngineDead, match="gone"):
        executor.check()
    executor.close()


def test_a_rank_that_ended_before_it_was_connected_to(tmp_path: Path) -> None:
    server = RankServer(immediate(echo), lambda socket: bind_private(socket, tmp_path, "r.sock"))
    endpoint = server.start()
    server.stop()
    server.join()
    executor = ZmqExecutor([endpoint], HEARTBEAT_TIMEOUT_S)
    executor.submit(plan_of(1))
    with pytest.raises(EngineDead, match="gone"):
        executor.collect(600)
    executor.close()


def test_answer_to_another_step_is_refused(tmp_path: Path) -> None:
    server = RankServer(
        immediate(lambda plan: StepResult(99, (), 0.0)), lambda socket: bind_private(socket, tmp_path, "r.sock")
    )
    executor = ZmqExecutor([server.start()], HEARTBEAT_TIMEOUT_S)
    executor.submit(plan_of(1))
    with pytest.raises(EngineDead, match="step 99 instead of 1"):
        executor.collect(10)
    executor.close()
    server.stop()


def test_damaged_frames_end_the_rank_with_a_reason(tmp_path: Path) -> None:
    server = RankServer(immediate(echo), lambda socket: bind_private(socket, tmp_path, "r.sock"))
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
    server = RankServer(immediate(echo), lambda socket: bind_private(socket, tmp_path / "missing", "r.sock"))
    with pytest.raises(OSError, match="could not be bound"):
        server.start()


def test_peer_without_the_key_reaches_nobody() -> None:
    executed: list[int] = []

    def execute(plan: StepPlan) -> StepResult:
        executed.append(plan.step_id)
        return echo(plan)

    server = RankServer(immediate(execute), lambda socket: bind_encrypted(socket, "127.0.0.1"))
    endpoint = server.start()
    wrong_key, _ = zmq.curve_keypair()
    for key in (None, wrong_key):
        executor = ZmqExecutor([Endpoint(endpoint.address, key)], HEARTBEAT_TIMEOUT_S)
        executor.submit(plan_of(1))
        with pytest.raises(EngineDead):
            executor.collect(0.3)
        executor.close()
    assert executed == []
    server.stop()
    server.join()
