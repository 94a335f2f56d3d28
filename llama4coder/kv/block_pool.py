"""Who may use which KV block: a fixed number of blocks, each free, in use, or cached.

    free    ── allocate ──> used ── release ──> free            (never named)
                             │ ^
                    register │ │ acquire (a prefix hit)
                             v │
                            used ── release ──> cached ── allocate, when nothing is free ──> used

A block is used while anybody refers to it. Cached blocks keep their content and their name, and are taken back, least
recently used first, only when no block is free; their content then moves to host memory, as far as `kv.host_tier` has
room, and from there to another block when it is wanted. Plain Python; the memory itself lives with the ranks.

A block belongs to one KV shard (`kv.striping`): the i-th block of a sequence comes from shard i mod `num_shards`, so
the fullest of the shards decides what can be held. A cached block has the same place in every sequence that begins
with its content, hence the right shard.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llama4coder.kv.block_hash import BlockHash
from llama4coder.kv.host_tier import BlockMove, HostTier
from llama4coder.kv.name_journal import NameJournal


@dataclass(frozen=True, slots=True)
class BlockUsage:
    """Blocks by state, over all shards; the three add up to the size of the pool."""

    used: int
    cached: int
    free: int


@dataclass(frozen=True, slots=True)
class FoundPrefix:
    """The longest beginning of a sequence whose content is there, by places in the sequence; each place is in one."""

    block_ids: Mapping[int, int] = field(default_factory=dict)  # in the pool
    on_host: Mapping[int, BlockHash] = field(default_factory=dict)

    @property
    def num_blocks(self) -> int:
        return len(self.block_ids) + len(self.on_host)


@dataclass(frozen=True, slots=True)
class BlockMoves:
    """What ranks copy before the rows of a plan: first what is saved to host memory, then what is loaded from it."""

    saves: tuple[BlockMove, ...]
    loads: tuple[BlockMove, ...]

    @property
    def is_empty(self) -> bool:
        return not self.saves and not self.loads


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
    """Hands out blocks; ask `can_allocate` first, then `allocate`. A `journal` is told which content can be shared.

    Whoever plans steps takes the moves that this caused along with each plan; without slots on the host there are none.
    """

    def __init__(
        self,
        blocks_per_shard: int,
        num_shards: int = 1,
        host_slots_per_shard: int = 0,
        *,
        journal: NameJournal | None = None,
    ) -> None:
        self.num_blocks = blocks_per_shard * num_shards
        self._journal = journal
        self.num_evicted = 0
        self.host = HostTier(host_slots_per_shard, num_shards, self._tell_if_gone)
        self._saves: list[BlockMove] = []
        self._loads: dict[int, BlockMove] = {}  # by block
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
    def shards(self) -> Sequence[BlockUsage]:
        """The usage of each shard."""
        size = self.num_blocks // len(self._shards)
        return [BlockUsage(size - each.num_available, len(each.cached), len(each.free)) for each in self._shards]

    def num_available(self, beside: Sequence[int]) -> int:
        """Blocks that the fullest shard can hand out now, cached ones included, if so many of each as `beside` were."""
        return min(shard.num_available - beside[index] for index, shard in enumerate(self._shards))

    def can_allocate(self, places: range, *, found: FoundPrefix | None = None, beside: Sequence[int] = ()) -> bool:
        """Whether `allocate(places)` would find its blocks now, on every shard.

        If before it what is `found` were taken, and so many blocks of each shard as `beside` says handed out.
        """
        count = len(self._shards)
        taken = list(beside) or [0] * count
        for block_id in found.block_ids.values() if found else ():
            taken[block_id % count] += self._ref_counts[block_id] == 0
        for place in found.on_host if found else ():
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

    def lookup(self, hashes: Sequence[BlockHash]) -> FoundPrefix:
        """The longest run of named content, from the first on, that lies in blocks or on the host; acquires nothing."""
        block_ids: dict[int, int] = {}
        on_host: dict[int, BlockHash] = {}
        for place, name in enumerate(hashes):
            if (block_id := self._named.get(name)) is not None:
                block_ids[place] = block_id
            elif name in self.host:
                on_host[place] = name
            else:
                break
        return FoundPrefix(block_ids, on_host)

    def take(self, found: FoundPrefix) -> list[int]:
        """Blocks with what `lookup` found, in order, with one more reference each.

        For what lies on the host it allocates, and plans loads: ask `can_allocate` with `found` first.
        """
        self.acquire(list(found.block_ids.values()))
        self.host.hold(found.on_host.values())
        block_ids = dict(found.block_ids)
        for place, name in found.on_host.items():
            (block_ids[place],) = self.allocate(range(place, place + 1))
            self._loads[block_ids[place]] = self.host.load(block_ids[place], name)
            self.register(block_ids[place], name)
        return [block_ids[place] for place in range(found.num_blocks)]

    def acquire(self, block_ids: Sequence[int]) -> None:
        """Add one reference to blocks that are in use, or cached."""
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

    def take_moves(self) -> BlockMoves:
        """What must be copied before the rows of the plan that is now complete."""
        moves = BlockMoves(tuple(self._saves), tuple(self._loads.values()))
        self._saves, self._loads = [], {}
        self.host.end_plan()
        return moves

    def check_integrity(self) -> None:
        """Assert the invariants of the drawing above, and the host's; cheap enough for every idle moment."""
        self.host.check_integrity()
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
            self._evict(block_id)
        self._ref_counts[block_id] = 1
        return block_id

    def _evict(self, block_id: int) -> None:
        """Forget its name; its content lives on in host memory, if there is room or it is there already."""
        name = self._hashes[block_id]
        assert name is not None
        del self._named[name]
        self._hashes[block_id] = None
        self.num_evicted += 1
        self._loads.pop(block_id, None)  # taken for somebody who was then preempted: what it would bring is on the host
        save = self.host.store(block_id, name)
        if save is not None:
            self._saves.append(save)
        self._tell_if_gone(name)

    def _tell_if_gone(self, name: BlockHash) -> None:
        """Content that one of both places still has can be shared still."""
        if self._journal is not None and name not in self._named and name not in self.host:
            self._journal.forgotten(name)
