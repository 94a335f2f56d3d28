"""What every `Communicator` must do, whatever carries its messages."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import pytest
import torch

from llama4coder.parallel.comm import Communicator

SIZE = 3
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64]

Body = Callable[[Communicator], object]  # picklable, and so is what it returns


class Group(Protocol):
    """`SIZE` ranks that run the same function, each with its own end of one group."""

    def run(self, body: Body) -> list[object]:
        """What it returned, by rank."""
        ...


def own(comm: Communicator, *size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Small whole numbers, different on each rank."""
    generator = torch.Generator().manual_seed(comm.index)
    return torch.randint(-50, 50, size, generator=generator).to(dtype)


def everyones(*size: int) -> list[torch.Tensor]:
    return [own(_Place(rank), *size) for rank in range(SIZE)]


class _Place:
    """An index, to ask `own` what another rank has."""

    def __init__(self, index: int) -> None:
        self.index = index


def places(comm: Communicator) -> object:
    return comm.index, comm.size


def summed(comm: Communicator, dtype: torch.dtype) -> object:
    total = comm.sum(own(comm, 4, 5, dtype=dtype))
    assert total.dtype == dtype
    return total.tolist()


def summed_of_slices(comm: Communicator) -> object:
    return comm.sum(own(comm, 6, 8)[:, ::2].t()).tolist()


def rounded(comm: Communicator) -> object:
    """Sums whose rounding depends on the order, bit by bit."""
    x = torch.randn(1000, generator=torch.Generator().manual_seed(comm.index)).bfloat16()
    return comm.sum(x).view(torch.int16).tolist()


def gathered(comm: Communicator, dtype: torch.dtype) -> object:
    return comm.gather(own(comm, 3, 2, dtype=dtype)).tolist()


def exchanged(comm: Communicator, dtype: torch.dtype) -> object:
    return comm.exchange(own(comm, SIZE, 4, 2, dtype=dtype)).tolist()


def many_in_turn(comm: Communicator) -> object:
    """Nothing of one call may be found in the next."""
    results = []
    for _ in range(50):
        results += [comm.sum(own(comm, 2)).tolist(), comm.gather(own(comm, 1)).tolist()]
        results += [comm.exchange(own(comm, SIZE, 1)).tolist()]
    return results


def alone_while_others_stay_away(comm: Communicator) -> object:
    if comm.index:
        return None
    start_s = time.monotonic()
    with pytest.raises(RuntimeError):
        comm.sum(torch.ones(3))
    return time.monotonic() - start_s


class CommunicatorContract:
    """Subclass it, and give a `group` fixture, and a `hasty` one whose timeout is one second."""

    @pytest.fixture
    def group(self) -> Iterator[Group]:
        raise NotImplementedError

    @pytest.fixture
    def hasty(self) -> Iterator[Group]:
        raise NotImplementedError

    def test_every_rank_has_its_place(self, group: Group) -> None:
        assert group.run(places) == [(index, SIZE) for index in range(SIZE)]

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_sum(self, group: Group, dtype: torch.dtype) -> None:
        assert group.run(partial(summed, dtype=dtype)) == [sum(everyones(4, 5)).tolist()] * SIZE

    def test_sum_of_what_is_not_contiguous(self, group: Group) -> None:
        expected = sum(everyones(6, 8))[:, ::2].t().tolist()
        assert group.run(summed_of_slices) == [expected] * SIZE

    def test_sums_are_the_same_bits_on_every_rank(self, group: Group) -> None:
        first, *others = group.run(rounded)
        assert all(other == first for other in others)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_gather(self, group: Group, dtype: torch.dtype) -> None:
        assert group.run(partial(gathered, dtype=dtype)) == [torch.stack(everyones(3, 2)).tolist()] * SIZE

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_exchange(self, group: Group, dtype: torch.dtype) -> None:
        sent = torch.stack(everyones(SIZE, 4, 2))  # [from, to, ...]
        assert group.run(partial(exchanged, dtype=dtype)) == [sent[:, rank].tolist() for rank in range(SIZE)]

    def test_calls_follow_each_other(self, group: Group) -> None:
        for rank, results in enumerate(group.run(many_in_turn)):
            total, stacked = sum(everyones(2)).tolist(), torch.stack(everyones(1)).tolist()
            received = torch.stack(everyones(SIZE, 1))[:, rank].tolist()
            assert results == [total, stacked, received] * 50

    def test_a_rank_that_stays_away_is_noticed(self, hasty: Group) -> None:
        waited_s = hasty.run(alone_while_others_stay_away)[0]
        assert isinstance(waited_s, float)
        assert waited_s < 10.0
