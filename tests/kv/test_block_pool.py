"""The block pool under random traces: its invariants are the product's promise."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llama4coder.kv.block_hash import block_hash, extend_hashes, root_hash
from llama4coder.kv.block_pool import BlockPool, BlockUsage, FoundPrefix
from llama4coder.kv.host_tier import BlockMove

BLOCKS_PER_SHARD = 6
MAX_BLOCKS = 24


class BlockPoolMachine(RuleBasedStateMachine):
    """Holders take, share, name and give back beginnings of sequences; a plain count of references is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(BLOCKS_PER_SHARD)
        self.held: list[list[int]] = []
        self.content: dict[int, bytes] = {}  # named blocks, as far as nobody overwrote them

    @initialize(num_shards=st.integers(1, 4))
    def divide(self, num_shards: int) -> None:
        self.pool = BlockPool(BLOCKS_PER_SHARD, num_shards)
        assert self.pool.num_blocks == BLOCKS_PER_SHARD * num_shards

    @rule(first=st.integers(0, 5), num_blocks=st.integers(0, MAX_BLOCKS))
    def allocate(self, first: int, num_blocks: int) -> None:
        places = range(first, first + num_blocks)
        fits = all(self.num_wanted(places, shard) <= self.num_unused(shard) for shard in range(self.pool.num_shards))
        assert self.pool.can_allocate(places) == fits
        if not fits:
            with pytest.raises(AssertionError):
                self.pool.allocate(places)
            return
        blocks = self.pool.allocate(places)
        assert [block % self.pool.num_shards for block in blocks] == [place % self.pool.num_shards for place in places]
        in_use = {block for holding in self.held for block in holding}
        assert len(set(blocks)) == num_blocks and not in_use & set(blocks), "a block with two writers"
        for block in blocks:
            self.content.pop(block, None)
        self.held.append(blocks)

    @rule(
        first=st.integers(0, 5),
        num_blocks=st.integers(0, MAX_BLOCKS),
        beside=st.lists(st.integers(0, BLOCKS_PER_SHARD), min_size=4, max_size=4),
    )
    def ask(self, first: int, num_blocks: int, beside: list[int]) -> None:
        """Also for what is to be acquired: cached blocks are then no longer to be had."""
        beside = beside[: self.pool.num_shards]
        places, acquiring = range(first, first + num_blocks), sorted(self.content)[::2]
        in_use = {block for holding in self.held for block in holding}
        fits = all(
            self.num_wanted(places, shard)
            + beside[shard]
            + sum(block % self.pool.num_shards == shard for block in acquiring if block not in in_use)
            <= self.num_unused(shard)
            for shard in range(self.pool.num_shards)
        )
        found = FoundPrefix(dict(enumerate(acquiring)))
        assert self.pool.can_allocate(places, found=found, beside=beside) == fits

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
        assert list(found.block_ids.values()) == expected and not found.on_host
        assert self.pool.take(found) == expected
        self.held.append(expected)

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
        assert usage.used + usage.cached + usage.free == self.pool.num_blocks
        assert usage.cached == len(set(self.content) - set(references))
        shards = self.pool.shards
        assert (
            BlockUsage(*(sum(getattr(each, state) for each in shards) for state in ("used", "cached", "free"))) == usage
        )

    def num_wanted(self, places: range, shard: int) -> int:
        return sum(place % self.pool.num_shards == shard for place in places)

    def num_unused(self, shard: int) -> int:
        in_use = {block for holding in self.held for block in holding if block % self.pool.num_shards == shard}
        return BLOCKS_PER_SHARD - len(in_use)


TestBlockPool = BlockPoolMachine.TestCase
TestBlockPool.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_least_recently_used_cached_block_is_taken_first_and_tails_before_beginnings() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(range(2)), pool.allocate(range(2))
    for name, block in zip((b"a", b"b", b"c", b"d"), first + second, strict=True):
        pool.register(block, name)
    pool.release(second)
    pool.release(first)
    assert pool.usage == BlockUsage(used=0, cached=4, free=0)
    assert pool.allocate(range(3)) == [second[1], second[0], first[1]]
    assert pool.lookup([b"a", b"b"]) == FoundPrefix({0: first[0]})
    assert pool.num_evicted == 3


def named(pool: BlockPool, names: list[bytes]) -> list[int]:
    """Blocks with these names, cached."""
    blocks = pool.allocate(range(len(names)))
    for block, name in zip(blocks, names, strict=True):
        pool.register(block, name)
    pool.release(blocks)
    return blocks


def test_evicted_content_moves_to_the_host_and_comes_back_to_another_block() -> None:
    pool = BlockPool(3, host_slots_per_shard=2)
    named(pool, [b"a", b"b", b"c"])
    blocks = pool.allocate(range(2))
    assert pool.take_moves().saves == (BlockMove(2, 0), BlockMove(1, 1))
    found = pool.lookup([b"a", b"b", b"c"])
    assert found == FoundPrefix({0: 0}, {1: b"b", 2: b"c"}) and found.num_blocks == 3
    assert not pool.can_allocate(range(0), found=found), "what lies on the host needs blocks, too"
    pool.release(blocks)
    assert pool.can_allocate(range(0), found=found)
    taken = pool.take(found)
    moves = pool.take_moves()
    assert moves.loads == (BlockMove(taken[1], 1), BlockMove(taken[2], 0)) and not moves.saves
    assert pool.lookup([b"a", b"b", b"c"]) == FoundPrefix(dict(enumerate(taken))), "named at once"
    assert pool.take_moves().is_empty


def test_a_block_that_is_taken_from_a_loaded_prefix_before_the_load_is_neither_loaded_nor_saved() -> None:
    pool = BlockPool(1, host_slots_per_shard=1)
    named(pool, [b"a"])
    pool.release(pool.allocate(range(1)))
    pool.take_moves()
    pool.release(pool.take(pool.lookup([b"a"])))
    pool.allocate(range(1))
    assert pool.take_moves().is_empty
    assert b"a" in pool.host


def test_integrity_check_notices_a_leak() -> None:
    pool = BlockPool(4)
    pool._shards[0].free.popleft()
    with pytest.raises(AssertionError, match="leaked"):
        pool.check_integrity()


def test_integrity_check_notices_a_block_on_the_wrong_shard() -> None:
    pool = BlockPool(4, num_shards=2)
    pool._shards[1].free.append(pool._shards[0].free.popleft())
    with pytest.raises(AssertionError, match="shard 1"):
        pool.check_integrity()


def test_the_fullest_shard_decides() -> None:
    """Two sequences of one block each: both are on the first shard, and the second shard is of no use to a third."""
    pool = BlockPool(2, num_shards=2)
    pool.allocate(range(1))
    pool.allocate(range(1))
    assert pool.usage == BlockUsage(used=2, cached=0, free=2)
    assert not pool.can_allocate(range(1))
    assert pool.can_allocate(range(1, 2))
    assert not pool.can_allocate(range(1, 2), beside=[1, 3])


def test_eviction_stays_within_the_shard() -> None:
    pool = BlockPool(1, num_shards=2)
    first, second = pool.allocate(range(2))
    pool.register(first, b"a")
    pool.register(second, b"b")
    pool.release([first, second])
    assert pool.allocate(range(1)) == [first]
    assert pool.lookup([b"b"]) == FoundPrefix({0: second})
    assert pool.num_evicted == 1


def test_releasing_twice_is_noticed() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(range(1))
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
    assert one[0] == block_hash(root_hash(""), [1] * 16)


def test_only_full_blocks_are_named_and_extension_equals_starting_over() -> None:
    tokens = list(range(40))
    at_once: list[bytes] = []
    extend_hashes(at_once, tokens, 16)
    in_steps: list[bytes] = []
    for end in range(41):
        extend_hashes(in_steps, tokens[:end], 16)
    assert in_steps == at_once and len(at_once) == 2


def test_salts_have_no_name_in_common() -> None:
    chains: list[list[bytes]] = [[], [], []]
    for chain, salt in zip(chains, ("", "one", "other \ud800"), strict=True):
        extend_hashes(chain, [1] * 48, 16, salt)
    assert len({name for chain in chains for name in chain}) == 9
    again: list[bytes] = []
    extend_hashes(again, [1] * 48, 16, "one")
    assert again == chains[1]


def test_no_salt_makes_the_name_of_a_block() -> None:
    """Else whoever chose it could find what follows that block in requests without salt."""
    token_ids = [0x61616161] * 16
    assert root_hash("a" * 64) != block_hash(root_hash(""), token_ids)


def test_the_fullest_shard_decides_what_is_available() -> None:
    pool = BlockPool(4, num_shards=2)
    first = pool.allocate(range(3))  # two of shard 0, one of shard 1
    assert pool.num_available([0, 0]) == 2
    assert pool.num_available([1, 3]) == 0
    pool.register(first[0], b"name")
    pool.release(first)
    assert pool.num_available([0, 0]) == 4, "cached blocks are available"
