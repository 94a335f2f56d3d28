"""Who may use which KV block: a fixed number of blocks, each free, in use, or cached.

    free    ── allocate ──> used ── release ──> free            (never named)
                             │ ^
                    register │ │ acquire (a prefix hit)
                             v │
                            used ── release ──> cached ── allocate, when nothing is free ──> used

A block is used while anybody refers to it. Cached blocks keep their content and their name, and are taken back, least
recently used first, only when no block is free. Plain Python; the memory itself lives with the ranks.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from llama4coder.kv.block_hash import BlockHash


@dataclass(frozen=True, slots=True)
class BlockUsage:
    """Blocks by state; the three add up to the size of the pool."""

    used: int
    cached: int
    free: int


class BlockPool:
    """Hands out blocks; ask `num_available` first, then `allocate`."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._ref_counts = [0] * num_blocks
        self._hashes: list[BlockHash | None] = [None] * num_blocks
        self._named: dict[BlockHash, int] = {}
        self._free: deque[int] = deque(range(num_blocks))
        self._cached: OrderedDict[int, None] = OrderedDict()  # oldest first
        self.num_evicted = 0

    @property
    def num_available(self) -> int:
        """Blocks that `allocate` can hand out now, cached ones included."""
        return len(self._free) + len(self._cached)

    @property
    def usage(self) -> BlockUsage:
        cached, free = len(self._cached), len(self._free)
        return BlockUsage(used=self.num_blocks - cached - free, cached=cached, free=free)

    def allocate(self, num_blocks: int) -> list[int]:
        """Hand out blocks with one reference each; never more than `num_available`."""
        assert num_blocks <= self.num_available, "ask num_available before allocate"
        return [self._take_one() for _ in range(num_blocks)]

    def lookup(self, hashes: Sequence[BlockHash]) -> list[int]:
        """The longest run of blocks, from the first on, that hold the named content; acquires nothing."""
        found: list[int] = []
        for name in hashes:
            block_id = self._named.get(name)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def num_unreferenced(self, block_ids: Sequence[int]) -> int:
        """How many of these an `acquire` would take out of `num_available`."""
        return sum(self._ref_counts[block_id] == 0 for block_id in block_ids)

    def acquire(self, block_ids: Sequence[int]) -> None:
        """Add one reference to blocks that `lookup` found."""
        for block_id in block_ids:
            if self._ref_counts[block_id] == 0:
                del self._cached[block_id]
            self._ref_counts[block_id] += 1

    def release(self, block_ids: Sequence[int]) -> None:
        """Give back one reference of each, in the order of the sequence: its tail is evicted before its beginning."""
        for block_id in reversed(block_ids):
            assert self._ref_counts[block_id] > 0, f"block {block_id} released twice"
            self._ref_counts[block_id] -= 1
            if self._ref_counts[block_id]:
                continue
            if self._hashes[block_id] is None:
                self._free.append(block_id)
            else:
                self._cached[block_id] = None

    def register(self, block_id: int, name: BlockHash) -> None:
        """Name a used, full, computed block; the first block with a name keeps it."""
        assert self._ref_counts[block_id] > 0, f"block {block_id} named while unused"
        if name not in self._named and self._hashes[block_id] is None:
            self._named[name] = block_id
            self._hashes[block_id] = name

    def check_integrity(self) -> None:
        """Assert the invariants of the drawing above; cheap enough for every idle moment."""
        free, cached = set(self._free), set(self._cached)
        assert len(free) == len(self._free), "a block is free twice"
        assert not free & cached, "a block is free and cached"
        for block_id, count in enumerate(self._ref_counts):
            assert count >= 0, f"block {block_id} has {count} references"
            assert (count == 0) == (block_id in free or block_id in cached), f"block {block_id} leaked or shared"
        for block_id in free:
            assert self._hashes[block_id] is None, f"free block {block_id} has a name"
        for block_id in cached:
            assert self._hashes[block_id] is not None, f"cached block {block_id} has no name"
        named = {name: block_id for block_id, name in enumerate(self._hashes) if name is not None}
        assert named == self._named, "names and blocks disagree"

    def _take_one(self) -> int:
        if self._free:
            block_id = self._free.popleft()
        else:
            block_id, _ = self._cached.popitem(last=False)
            name = self._hashes[block_id]
            assert name is not None
            del self._named[name]
            self._hashes[block_id] = None
            self.num_evicted += 1
        self._ref_counts[block_id] = 1
        return block_id
