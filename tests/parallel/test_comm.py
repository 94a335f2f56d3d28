"""Communicators: torch's process groups between processes, and the tests' own between threads."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from llama4coder.parallel.comm import Alone, Communicator, TorchGroup
from llama4coder.parallel.symmetric import MAX_BYTES, SymmetricGroup
from tests.support.communicator_contract import SIZE, Body, CommunicatorContract, Group
from tests.support.thread_group import ThreadGroup

Wrap = Callable[[TorchGroup], Communicator]


class Threads:
    """Implements `Group`."""

    def __init__(self, timeout_s: float) -> None:
        self._comms = ThreadGroup.of(SIZE, timeout_s)

    def run(self, body: Body) -> list[object]:
        with ThreadPoolExecutor(SIZE) as pool:
            return list(pool.map(body, self._comms))


class Ranks:
    """Processes, with Gloo between them."""

    def __init__(self, meeting: Path) -> None:
        spawn = get_context("spawn")
        self.processes = [
            ProcessPoolExecutor(1, spawn, initializer=join, initargs=(meeting, rank)) for rank in range(SIZE)
        ]

    def close(self) -> None:
        for process in self.processes:
            process.shutdown()


@dataclass(frozen=True, slots=True)
class Processes:
    """Implements `Group`, by a new group of the same processes for each call."""

    ranks: Ranks
    timeout_s: float
    wrap: Wrap

    def run(self, body: Body) -> list[object]:
        results = [each.submit(on_a_new_group, body, self.timeout_s, self.wrap) for each in self.ranks.processes]
        return [result.result() for result in results]


def join(meeting: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=SIZE)


def on_a_new_group(body: Body, timeout_s: float, wrap: Wrap) -> object:
    return body(wrap(TorchGroup(dist.new_group(timeout=timedelta(seconds=timeout_s)))))


def plain(group: TorchGroup) -> Communicator:
    return group


def with_small_sums(group: TorchGroup) -> Communicator:
    """As on GPUs that share memory, but for the kernel."""

    def one_shot(room: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        room.copy_(x)
        return group.sum(room.clone())

    return SymmetricGroup(group, torch.zeros(MAX_BYTES, dtype=torch.uint8), one_shot)


class TestThreads(CommunicatorContract):
    @pytest.fixture
    def group(self) -> Group:
        return Threads(60.0)

    @pytest.fixture
    def hasty(self) -> Group:
        return Threads(1.0)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    ranks = Ranks(tmp_path_factory.mktemp("group") / "meeting")
    yield ranks
    ranks.close()


@pytest.fixture(scope="module", params=[plain, with_small_sums])
def wrap(request: pytest.FixtureRequest) -> Wrap:
    wrap: Wrap = request.param
    return wrap


class TestProcesses(CommunicatorContract):
    @pytest.fixture
    def group(self, ranks: Ranks, wrap: Wrap) -> Group:
        return Processes(ranks, 60.0, wrap)

    @pytest.fixture
    def hasty(self, ranks: Ranks, wrap: Wrap) -> Group:
        return Processes(ranks, 1.0, wrap)


def test_a_group_of_one_has_all_it_needs() -> None:
    x, alone = torch.randn(1, 4), Alone()
    assert (alone.index, alone.size) == (0, 1)
    assert torch.equal(alone.sum(x), x)
    assert torch.equal(alone.gather(x), x[None])
    assert torch.equal(alone.exchange(x), x)
