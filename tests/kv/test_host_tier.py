"""The host tier under random traces: whatever has a name is where it is said to be, once each plan's moves are made."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.host_tier import BlockMove, HostTier, HostUsage

MAX_PLACES = 6
VARIANTS = 3


def names_of(variant: int, num_blocks: int) -> list[bytes]:
    """The names of the first blocks of one of several sequences."""
    return [bytes([place, variant]) for place in range(num_blocks)]


@dataclass
class Holder:
    """The first blocks of a sequence, of which some are still to be computed and named."""

    names: list[bytes]
    blocks: list[int]
    num_named: int


class HostTierMachine(RuleBasedStateMachine):
    """Holders begin, compute and end sequences; two mappings that moves and rows write to are the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(1)
        self.in_block: dict[int, bytes] = {}
        self.in_slot: dict[int, bytes] = {}
        self.holders: list[Holder] = []
        self.pinned: list[list[bytes]] = []
        self.safe: set[bytes] = set()  # pinned names that lie on the host
        self.to_write: dict[int, bytes] = {}  # by the rows of the plan in the making

    @initialize(num_shards=st.integers(1, 3), num_blocks=st.integers(2, 4), num_slots=st.integers(0, 4))
    def divide(self, num_shards: int, num_blocks: int, num_slots: int) -> None:
        self.pool = BlockPool(num_blocks, num_shards, num_slots)

    @rule(variant=st.integers(0, VARIANTS - 1), num_blocks=st.integers(1, MAX_PLACES))
    def begin(self, variant: int, num_blocks: int) -> None:
        names = names_of(variant, num_blocks)
        found = self.pool.lookup(names)
        missing = range(found.num_blocks, num_blocks)
        if not self.pool.can_allocate(missing, found=found):
            return
        blocks = self.pool.take(found)
        blocks += self.pool.allocate(missing)
        assert [block % self.pool.num_shards for block in blocks] == [
            place % self.pool.num_shards for place in range(num_blocks)
        ]
        self.to_write |= {blocks[place]: names[place] for place in missing}
        self.holders.append(Holder(names, blocks, found.num_blocks))

    @rule()
    def end_plan(self) -> None:
        """What ranks do: saves, loads, rows; then what was computed gets its name."""
        moves = self.pool.take_moves()
        assert all(move.block_id % self.pool.num_shards == move.slot_id % self.pool.num_shards for move in moves.saves)
        assert all(move.block_id % self.pool.num_shards == move.slot_id % self.pool.num_shards for move in moves.loads)
        assert len({move.slot_id for move in moves.saves}) == len(moves.saves), "two saves to one slot"
        assert len({move.block_id for move in moves.loads}) == len(moves.loads), "two loads to one block"
        for move in moves.saves:
            self.in_slot[move.slot_id] = self.in_block[move.block_id]
        for move in moves.loads:
            self.in_block[move.block_id] = self.in_slot[move.slot_id]
        self.in_block |= self.to_write
        self.to_write = {}
        for holder in self.holders:
            for place in range(holder.num_named, len(holder.blocks)):
                self.pool.register(holder.blocks[place], holder.names[place])
            holder.num_named = len(holder.blocks)
        self.check_content()

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), pins=st.booleans())
    def end(self, data: st.DataObject, pins: bool) -> None:
        """A sequence ends, or is preempted; it has no row then in the plan in the making."""
        holder = self.holders.pop(data.draw(st.integers(0, len(self.holders) - 1)))
        for block in holder.blocks[holder.num_named :]:
            del self.to_write[block]
        if pins:
            names = holder.names[: holder.num_named]
            self.pool.host.pin(names)
            self.pinned.append(names)
        self.pool.release(holder.blocks)

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        self.pool.host.unpin(self.pinned.pop(data.draw(st.integers(0, len(self.pinned) - 1))))

    @invariant()
    def states_add_up(self) -> None:
        self.pool.check_integrity()
        usage = self.pool.host.usage
        assert usage.cached + usage.pinned + usage.free == self.pool.host.num_slots
        pinned = {name for names in self.pinned for name in names}
        self.safe &= pinned
        assert all(name in self.pool.host for name in self.safe), "pinned content was evicted"
        self.safe |= {name for name in pinned if name in self.pool.host}
        assert usage.pinned == len(self.safe)

    def check_content(self) -> None:
        for name, block_id in self.pool._named.items():
            assert self.in_block[block_id] == name
        for name, slot_id in self.pool.host._slots.items():
            assert self.in_slot[slot_id] == name


TestHostTier = HostTierMachine.TestCase
TestHostTier.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_content_has_one_slot_and_least_recently_used_slots_are_taken_first() -> None:
    tier = HostTier(2)
    assert tier.store(7, b"a") == BlockMove(7, 0)
    assert tier.store(8, b"b") == BlockMove(8, 1)
    tier.end_plan()
    assert tier.store(9, b"a") is None, "a second eviction needs no second copy"
    assert tier.store(9, b"c") == BlockMove(9, 1)
    assert b"a" in tier and b"b" not in tier
    assert tier.usage == HostUsage(cached=2, pinned=0, free=0)


def test_slots_stay_on_their_shard() -> None:
    tier = HostTier(1, num_shards=2)
    assert tier.store(3, b"a") == BlockMove(3, 1)
    tier.end_plan()
    assert tier.store(5, b"b") == BlockMove(5, 1)
    assert tier.store(2, b"c") == BlockMove(2, 0)


def test_pins_beat_cached_prefixes_and_where_all_are_pinned_nothing_comes() -> None:
    tier = HostTier(2)
    tier.pin([b"a", b"b"])
    tier.store(0, b"a")
    tier.store(1, b"x")
    tier.end_plan()
    assert tier.store(2, b"b") == BlockMove(2, 1), "in the place of the one that is not pinned"
    tier.end_plan()
    assert tier.store(3, b"y") is None
    assert tier.usage == HostUsage(cached=0, pinned=2, free=0)


def test_what_two_pinned_is_free_to_go_when_both_are_done_tails_first() -> None:
    tier = HostTier(2)
    tier.store(0, b"a")
    tier.store(1, b"b")
    tier.end_plan()
    tier.pin([b"a", b"b"])
    tier.pin([b"a", b"b"])
    tier.unpin([b"a", b"b"])
    assert tier.store(2, b"c") is None
    tier.unpin([b"a", b"b"])
    assert tier.store(2, b"c") == BlockMove(2, 1)
    assert b"a" in tier
    with pytest.raises(AssertionError, match="more often"):
        tier.unpin([b"a"])


def test_what_a_plan_loads_or_saves_keeps_its_slot_until_the_plan_is_complete() -> None:
    tier = HostTier(2)
    tier.store(0, b"a")
    tier.end_plan()
    tier.store(1, b"b")
    tier.hold([b"a"])
    assert tier.load(5, b"a") == BlockMove(5, 0)
    assert tier.store(2, b"c") is None
    tier.end_plan()
    assert tier.store(2, b"c") == BlockMove(2, 1)


def test_what_was_loaded_is_the_last_to_be_evicted_its_tail_before_its_beginning() -> None:
    tier = HostTier(3)
    for block_id, name in enumerate((b"a", b"b", b"x")):
        tier.store(block_id, name)
    tier.hold([b"a", b"b"])
    tier.end_plan()
    evicted = []
    for new in (b"1", b"2", b"3"):
        before = {name for name in (b"a", b"b", b"x") if name in tier}
        tier.store(9, new)
        evicted += [name for name in before if name not in tier]
    assert evicted == [b"x", b"b", b"a"]


def test_content_must_be_held_before_it_is_loaded() -> None:
    tier = HostTier(1)
    tier.store(0, b"a")
    tier.end_plan()
    with pytest.raises(AssertionError, match="hold it"):
        tier.load(1, b"a")


def test_without_slots_nothing_is_stored() -> None:
    tier = HostTier(0)
    assert tier.store(0, b"a") is None
    assert tier.usage == HostUsage(0, 0, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tier: tier._shards[0].free.clear(), "leaked"),
        (lambda tier: tier._shards[1].free.append(tier._shards[0].free.pop()), "shard 1"),
        (lambda tier: tier._shards[0].cached.clear(), "pins and slots"),
        (lambda tier: tier._pins.update({b"a": 1}), "pins and slots"),
    ],
)
def test_integrity_check_notices(damage: object, message: str) -> None:
    tier = HostTier(2, num_shards=2)
    tier.store(0, b"a")
    tier.check_integrity()
    damage(tier)
    with pytest.raises(AssertionError, match=message):
        tier.check_integrity()
