"""The block pool under random traces: its invariants are the product's promise."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llama4coder.kv.block_hash import block_hash, extend_hashes
from llama4coder.kv.block_pool import BlockPool, BlockUsage

NUM_BLOCKS = 12


class BlockPoolMachine(RuleBasedStateMachine):
    """Holders take, share, name and give back blocks; a plain count of references is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(NUM_BLOCKS)
        self.held: list[list[int]] = []
        self.content: dict[int, bytes] = {}  # named blocks, as far as nobody overwrote them

    @rule(num_blocks=st.integers(0, NUM_BLOCKS))
    def allocate(self, num_blocks: int) -> None:
        if num_blocks > self.pool.num_available:
            with pytest.raises(AssertionError):
                self.pool.allocate(num_blocks)
            return
        blocks = self.pool.allocate(num_blocks)
        in_use = {block for holding in self.held for block in holding}
        assert len(set(blocks)) == num_blocks and not in_use & set(blocks), "a block with two writers"
        for block in blocks:
            self.content.pop(block, None)
        self.held.append(blocks)

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), name=st.binary(min_size=1, max_size=1))
    def register(self, data: st.DataObject, name: bytes) -> None:
        block = data.draw(st.sampled_from(sorted({b for holding in self.held for b in holding})))
        self.pool.register(block, name)
        if name not in self.content.values() and block not in self.content:
            self.content[block] = name

    @rule(name=st.binary(min_size=1, max_size=1))
    def share(self, name: bytes) -> None:
        expected = [block for block, its_name in self.content.items() if its_name == name]
        found = self.pool.lookup([name])
        assert found == expected
        before = self.pool.num_available
        unreferenced = self.pool.num_unreferenced(found)
        self.pool.acquire(found)
        assert self.pool.num_available == before - unreferenced
        self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pool.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @invariant()
    def states_add_up(self) -> None:
        self.pool.check_integrity()
        references = Counter(block for holding in self.held for block in holding)
        usage = self.pool.usage
        assert usage.used == len(references)
        assert usage.used + usage.cached + usage.free == NUM_BLOCKS
        assert usage.cached == len(set(self.content) - set(references))


TestBlockPool = BlockPoolMachine.TestCase
TestBlockPool.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


def test_least_recently_used_cached_block_is_taken_first_and_tails_before_beginnings() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    for name, block in zip((b"a", b"b", b"c", b"d"), first + second, strict=True):
        pool.register(block, name)
    pool.release(second)
    pool.release(first)
    assert pool.usage == BlockUsage(used=0, cached=4, free=0)
    assert pool.allocate(3) == [second[1], second[0], first[1]]
    assert pool.lookup([b"a", b"b"]) == [first[0]]
    assert pool.num_evicted == 3


def test_integrity_check_notices_a_leak() -> None:
    pool = BlockPool(4)
    pool._free.popleft()
    with pytest.raises(AssertionError, match="leaked"):
        pool.check_integrity()


def test_releasing_twice_is_noticed() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(AssertionError, match="twice"):
        pool.release(blocks)


def test_hashes_cover_everything_before_the_block() -> None:
    same_block = [5] * 16
    one, other = [], []
    extend_hashes(one, [1] * 16 + same_block, 16)
    extend_hashes(other, [2] * 16 + same_block, 16)
    assert len(one) == len(other) == 2
    assert one[1] != other[1]
    assert one[0] == block_hash(None, [1] * 16)


def test_only_full_blocks_are_named_and_extension_equals_starting_over() -> None:
    tokens = list(range(40))
    at_once: list[bytes] = []
    extend_hashes(at_once, tokens, 16)
    in_steps: list[bytes] = []
    for end in range(41):
        extend_hashes(in_steps, tokens[:end], 16)
    assert in_steps == at_once and len(at_once) == 2
