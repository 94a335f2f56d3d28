"""Which content of KV blocks lies in host memory: a fixed number of slots, each free, cached or pinned.

    free   ── store ──> cached ── store, when nothing is free ──> cached, with other content
                         │ ^
                     pin │ │ unpin
                         v │
                        pinned

Swap and the prefix cache's second tier are one thing: content that the block pool evicts moves to a slot, and is found
there by its name. What a preempted sequence needs to go on is pinned until it goes on or is aborted: no other content
gets the slots of pinned names, and where all are pinned an eviction loses its content, which is then computed again. A
slot keeps its content after it was loaded, so that the block is evicted a second time without a second copy.

A slot belongs to one KV shard, like a block: slot s is place s // num_shards of shard s mod num_shards. Plain Python;
the memory itself lives with the ranks (`kv.host`).
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from llama4coder.kv.block_hash import BlockHash


@dataclass(frozen=True, slots=True)
class BlockMove:
    """One block's content on its way to a slot of host memory, or back; both lie on the same shard."""

    block_id: int
    slot_id: int


@dataclass(frozen=True, slots=True)
class HostUsage:
    """Slots by state, over all shards; the three add up to the size of the tier."""

    cached: int
    pinned: int
    free: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """The slots of one KV shard that may be had."""

    free: deque[int]
    cached: OrderedDict[BlockHash, None] = field(default_factory=OrderedDict)  # not pinned, oldest first


class HostTier:
    """Hands out slots for content, least recently used first; `on_dropped` is told of content that has to make room.

    Moves are made by the plan that is being put together, saves before loads. Until `end_plan`, a slot that it uses is
    not given to other content: a load must find what was there when it was planned.
    """

    def __init__(
        self, slots_per_shard: int, num_shards: int = 1, on_dropped: Callable[[BlockHash], None] | None = None
    ) -> None:
        self.num_slots = slots_per_shard * num_shards
        self._on_dropped = on_dropped
        self._slots: dict[BlockHash, int] = {}
        self._pins: Counter[BlockHash] = Counter()  # of names, whether they lie here or not
        self._moving: set[BlockHash] = set()
        self._shards = [_Shard(deque(range(index, self.num_slots, num_shards))) for index in range(num_shards)]

    @property
    def usage(self) -> HostUsage:
        cached = sum(len(shard.cached) for shard in self._shards)
        free = sum(len(shard.free) for shard in self._shards)
        return HostUsage(cached=cached, pinned=self.num_slots - cached - free, free=free)

    def __contains__(self, name: BlockHash) -> bool:
        return name in self._slots

    def store(self, block_id: int, name: BlockHash) -> BlockMove | None:
        """The move that keeps a block's content here; None if it is here already, or there is no slot to be had."""
        if name in self._slots:
            self._touch(name)
            return None
        slot_id = self._take_slot(self._shards[block_id % len(self._shards)])
        if slot_id is None:
            return None
        self._slots[name] = slot_id
        self._moving.add(name)
        self._touch(name)
        return BlockMove(block_id, slot_id)

    def hold(self, names: Collection[BlockHash]) -> None:
        """Keep the slots of content that is about to be loaded, in the order of the sequence: its tail goes first."""
        self._moving.update(names)
        for name in reversed(list(names)):
            self._touch(name)

    def load(self, block_id: int, name: BlockHash) -> BlockMove:
        """The move that brings content that is held here to a block of the same shard."""
        assert name in self._moving, "hold it before blocks are evicted for it"
        return BlockMove(block_id, self._slots[name])

    def end_plan(self) -> None:
        """The plan is complete: ranks execute the next one's moves after its own."""
        self._moving.clear()

    def pin(self, names: Sequence[BlockHash]) -> None:
        """Keep this content, also if it comes here later, until it is unpinned as often."""
        for name in names:
            self._pins[name] += 1
            if name in self._slots:
                self._shard_of(name).cached.pop(name, None)

    def unpin(self, names: Sequence[BlockHash]) -> None:
        """Take back one pin of each, in the order of the sequence: its tail is evicted before its beginning."""
        for name in reversed(names):
            assert self._pins[name] > 0, "unpinned more often than pinned"
            self._pins[name] -= 1
            if not self._pins[name]:
                del self._pins[name]
                if name in self._slots:
                    self._touch(name)

    def check_integrity(self) -> None:
        """Assert the invariants of the drawing above; cheap enough for every idle moment."""
        free = [slot_id for shard in self._shards for slot_id in shard.free]
        assert sorted([*free, *self._slots.values()]) == list(range(self.num_slots)), "a slot leaked or is taken twice"
        for index, shard in enumerate(self._shards):
            strangers = [slot_id for slot_id in shard.free if slot_id % len(self._shards) != index]
            strangers += [self._slots[name] for name in shard.cached if self._slots[name] % len(self._shards) != index]
            assert not strangers, f"shard {index} keeps slots of others"
        cached = {name for shard in self._shards for name in shard.cached}
        assert cached == self._slots.keys() - self._pins.keys(), "pins and slots disagree"
        assert all(count > 0 for count in self._pins.values()), "a pin that is none"

    def _take_slot(self, shard: _Shard) -> int | None:
        if shard.free:
            return shard.free.popleft()
        oldest = next(iter(shard.cached), None)
        if oldest is None or oldest in self._moving:
            return None
        del shard.cached[oldest]
        slot_id = self._slots.pop(oldest)
        if self._on_dropped is not None:
            self._on_dropped(oldest)
        return slot_id

    def _touch(self, name: BlockHash) -> None:
        """It is the last to be evicted, unless it is pinned and not evicted at all."""
        if name not in self._pins:
            cached = self._shard_of(name).cached
            cached[name] = None
            cached.move_to_end(name)

    def _shard_of(self, name: BlockHash) -> _Shard:
        return self._shards[self._slots[name] % len(self._shards)]
