"""What is promised is there, on every shard."""

import pytest

from llama4coder.engine.reservations import Reservations
from llama4coder.engine.sequence import Sequence
from llama4coder.kv.block_pool import BlockPool, FoundPrefix
from tests.support.scheduling import request

NOTHING = FoundPrefix()


def sequence(number: int = 0) -> Sequence:
    return Sequence(number, request(str(number), [1], 8), [1], number, 0.0)


def test_a_promise_is_kept_whatever_others_ask_for() -> None:
    reservations = Reservations(BlockPool(8))
    first, second = sequence(0), sequence(1)
    reservations.admit(first, 5, NOTHING)
    assert reservations.num_promised == 5
    assert not reservations.can_admit(4, NOTHING)
    reservations.admit(second, 3, NOTHING)
    assert not reservations.extend(second, 4)
    reservations.take(second, 3)
    reservations.take(first, 2)
    reservations.take(first, 5)
    assert (len(first.block_ids), len(second.block_ids), reservations.num_promised) == (5, 3, 0)
    reservations.check_integrity([first, second])


def test_the_fullest_shard_decides() -> None:
    """Blocks 0, 2, 4 of a sequence are on the first of two shards, 1 and 3 on the second."""
    reservations = Reservations(BlockPool(4, num_shards=2))
    first, second = sequence(0), sequence(1)
    reservations.admit(first, 5, NOTHING)
    assert not reservations.can_admit(3, NOTHING), "three blocks are free, and one of them on the first shard"
    assert reservations.can_admit(2, NOTHING)
    reservations.admit(second, 1, NOTHING)
    assert not reservations.extend(first, 7)
    assert reservations.extend(first, 6)
    reservations.check_integrity([first, second])
    assert reservations.num_most(5) == 3


def test_shared_blocks_count_once_and_cached_ones_can_be_promised() -> None:
    pool = BlockPool(6)
    reservations = Reservations(pool)
    first, second = sequence(0), sequence(1)
    reservations.admit(first, 4, NOTHING)
    reservations.take(first, 2)
    for block, name in zip(first.block_ids, (b"a", b"b"), strict=True):
        pool.register(block, name)
    shared = pool.lookup([b"a", b"b"])
    assert not reservations.can_admit(5, shared)
    assert reservations.can_admit(4, shared), "two of them are held already"
    reservations.admit(second, 4, shared)
    assert (pool.usage.used, reservations.num_promised) == (2, 4)
    for seq in (first, second):
        reservations.release(seq)
    assert (pool.usage.cached, reservations.num_promised) == (2, 0)
    reservations.admit(first, 6, NOTHING)
    reservations.take(first, 6)
    assert pool.num_evicted == 2


def test_cached_blocks_that_are_taken_over_can_not_be_promised_to_others_as_well() -> None:
    pool = BlockPool(3)
    reservations = Reservations(pool)
    blocks = pool.allocate(range(2))
    for block, name in zip(blocks, (b"a", b"b"), strict=True):
        pool.register(block, name)
    pool.release(blocks)
    other = sequence(1)
    reservations.admit(other, 2, NOTHING)
    assert not reservations.can_admit(3, pool.lookup([b"a", b"b"]))
    assert not reservations.can_admit(2, pool.lookup([b"a", b"b"]))


def test_nobody_takes_more_than_it_was_promised() -> None:
    reservations = Reservations(BlockPool(8))
    seq = sequence()
    reservations.admit(seq, 2, NOTHING)
    with pytest.raises(AssertionError, match="promised"):
        reservations.take(seq, 3)
    assert reservations.extend(seq, 3) and reservations.extend(seq, 1)
    reservations.take(seq, 3)


def test_the_integrity_check_notices_a_lost_promise_and_one_too_many() -> None:
    reservations = Reservations(BlockPool(4))
    seq = sequence()
    reservations.admit(seq, 3, NOTHING)
    with pytest.raises(AssertionError, match="booked"):
        reservations.check_integrity([])
    reservations._promised[0] += 2
    seq.num_reserved += 2
    with pytest.raises(AssertionError, match="more than it has"):
        reservations.check_integrity([seq])
