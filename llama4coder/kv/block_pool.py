"""Who may use which KV block: a fixed number of blocks, each free, in use, or cached.

    free    ── allocate ──> used ── release ──> free            (never named)
                             │ ^
                    register │ │ acquire (a prefix hit)
                             v │
                            used ── release ──> cached ── allocate, when nothing is free ──> used

A block is used while anybody refers to it. Cached blocks keep their content and their name, and are taken back, least
recently used first, only when no block is free. Plain Python; the memory itself lives with the ranks.

A block belongs to one KV shard (`kv.striping`): the i-th block of a sequence comes from shard i mod `num_shards`, so
the fullest of the shards decides what can be held. A cached block has the same place in every sequence that begins
with its content, hence the right shard.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from llama4coder.kv.block_hash import BlockHash
from llama4coder.kv.name_journal import NameJournal


@dataclass(frozen=True, slots=True)
class BlockUsage:
    """Blocks by state, over all shards; the three add up to the size of the pool."""

    used: int
    cached: int
    free: int


@dataclass(frozen=True, slots=True)
class _Shard:
    """The blocks of one KV shard that nobody uses."""

    free: deque[int]
    cached: OrderedDict[int, None] = field(default_factory=OrderedDict)  # oldest first

    @property
    def num_available(self) -> int:
        """Blocks that can be handed out now, cached ones included."""
        return len(self.free) + len(self.cached)


class BlockPool:
    """Hands out blocks; ask `can_allocate` first, then `allocate`. A `journal` is told of every name."""

    def __init__(self, blocks_per_shard: int, num_shards: int = 1, *, journal: NameJournal | None = None) -> None:
        self.num_blocks = blocks_per_shard * num_shards
        self._journal = journal
        self.num_evicted = 0
        self._ref_counts = [0] * self.num_blocks
        self._hashes: list[BlockHash | None] = [None] * self.num_blocks
        self._named: dict[BlockHash, int] = {}
        self._shards = [_Shard(deque(range(index, self.num_blocks, num_shards))) for index in range(num_shards)]

    @property
    def num_shards(self) -> int:
        return len(self._shards)

    @property
    def usage(self) -> BlockUsage:
        cached = sum(len(shard.cached) for shard in self._shards)
        free = sum(len(shard.free) for shard in self._shards)
        return BlockUsage(used=self.num_blocks - cached - free, cached=cached, free=free)

    @property
    def num_available(self) -> int:
        """Blocks that can be handed out now on the fullest shard, cached ones included."""
        return min(shard.num_available for shard in self._shards)

    def can_allocate(self, places: range, *, acquiring: Sequence[int] = (), beside: Sequence[int] = ()) -> bool:
        """Whether `allocate(places)` would find its blocks now, on every shard.

        If before it the blocks `acquiring` were acquired, and one block for each place in `beside` were handed out.
        """
        count = len(self._shards)
        taken = [0] * count
        for block_id in acquiring:
            taken[block_id % count] += self._ref_counts[block_id] == 0
        for place in beside:
            taken[place % count] += 1
        for index, shard in enumerate(self._shards):
            num_wanted = len(places[(index - places.start) % count :: count])
            if num_wanted + taken[index] > shard.num_available:
                return False
        return True

    def allocate(self, places: range) -> list[int]:
        """Hand out a block for each of these places in a sequence, with one reference each."""
        assert not places or self.can_allocate(places), "ask can_allocate before allocate"
        return [self._take_from(self._shards[place % len(self._shards)]) for place in places]

    def lookup(self, hashes: Sequence[BlockHash]) -> list[int]:
        """The longest run of blocks, from the first on, that hold the named content; acquires nothing."""
        found: list[int] = []
        for name in hashes:
            block_id = self._named.get(name)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def acquire(self, block_ids: Sequence[int]) -> None:
        """Add one reference to blocks that `lookup` found."""
        for block_id in block_ids:
            if self._ref_counts[block_id] == 0:
                del self._shard_of(block_id).cached[block_id]
            self._ref_counts[block_id] += 1

    def release(self, block_ids: Sequence[int]) -> None:
        """Give back one reference of each, in the order of the sequence: its tail is evicted before its beginning."""
        for block_id in reversed(block_ids):
            assert self._ref_counts[block_id] > 0, f"block {block_id} released twice"
            self._ref_counts[block_id] -= 1
            if self._ref_counts[block_id]:
                continue
            if self._hashes[block_id] is None:
                self._shard_of(block_id).free.append(block_id)
            else:
                self._shard_of(block_id).cached[block_id] = None

    def is_shared(self, block_id: int) -> bool:
        """Whether more than one refers to it, so that nobody may write to it."""
        return self._ref_counts[block_id] > 1

    def register(self, block_id: int, name: BlockHash) -> None:
        """Name a used, full, computed block; the first block with a name keeps it."""
        assert self._ref_counts[block_id] > 0, f"block {block_id} named while unused"
        if name not in self._named and self._hashes[block_id] is None:
            self._named[name] = block_id
            self._hashes[block_id] = name
            if self._journal is not None:
                self._journal.named(name)

    def check_integrity(self) -> None:
        """Assert the invariants of the drawing above; cheap enough for every idle moment."""
        free = [block_id for shard in self._shards for block_id in shard.free]
        cached = {block_id for shard in self._shards for block_id in shard.cached}
        assert len(free) == len(set(free)), "a block is free twice"
        for index, shard in enumerate(self._shards):
            strangers = [block for block in (*shard.free, *shard.cached) if block % self.num_shards != index]
            assert not strangers, f"shard {index} keeps blocks of others"
        self._check_states(set(free), cached)
        named = {name: block_id for block_id, name in enumerate(self._hashes) if name is not None}
        assert named == self._named, "names and blocks disagree"

    def _check_states(self, free: set[int], cached: set[int]) -> None:
        assert not free & cached, "a block is free and cached"
        for block_id, count in enumerate(self._ref_counts):
            assert count >= 0, f"block {block_id} has {count} references"
            assert (count == 0) == (block_id in free or block_id in cached), f"block {block_id} leaked or shared"
        for block_id in free:
            assert self._hashes[block_id] is None, f"free block {block_id} has a name"
        for block_id in cached:
            assert self._hashes[block_id] is not None, f"cached block {block_id} has no name"

    def _shard_of(self, block_id: int) -> _Shard:
        return self._shards[block_id % len(self._shards)]

    def _take_from(self, shard: _Shard) -> int:
        if shard.free:
            block_id = shard.free.popleft()
        else:
            block_id, _ = shard.cached.popitem(last=False)
            name = self._hashes[block_id]
            assert name is not None
            del self._named[name]
            self._hashes[block_id] = None
            self.num_evicted += 1
            if self._journal is not None:
                self._journal.forgotten(name)
        self._ref_counts[block_id] = 1
        return block_id
