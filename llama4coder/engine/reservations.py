"""The blocks of running sequences: those that they hold, and those that they have been promised.

    total   [ used ............ | promised .... | nobody's ]        on each KV shard
            a sequence's blocks:  [ held | promised ]
                                  [ its reservation ]

Always used + promised <= total on every shard, so a sequence grows within its reservation without asking anybody.
A block that several sequences share is used once; cached blocks that nobody uses can be promised.
"""

from collections.abc import Iterable

from llama4coder.engine.sequence import Sequence
from llama4coder.kv.block_pool import BlockPool, FoundPrefix


class Reservations:
    """Gives, promises and takes back the blocks of sequences; nobody else does."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._promised = [0] * pool.num_shards  # not yet held, by shard

    @property
    def num_promised(self) -> int:
        """Blocks that are promised and not yet held, over all shards."""
        return sum(self._promised)

    @property
    def num_available(self) -> int:
        """Blocks that are not promised to anybody on the shard that has fewest of them, cached ones included."""
        return self._pool.num_available(self._promised)

    def num_most(self, num_blocks: int) -> int:
        """Of so many blocks of a sequence those on the shard that has most of them."""
        return -(-num_blocks // self._pool.num_shards)

    def can_admit(self, num_blocks: int, cached: FoundPrefix) -> bool:
        """Whether a sequence that begins with what is `cached` could be promised so many blocks in all."""
        return self._pool.can_allocate(range(cached.num_blocks, num_blocks), found=cached, beside=self._promised)

    def admit(self, seq: Sequence, num_blocks: int, cached: FoundPrefix) -> None:
        """Give it blocks with what is cached and promise the others; ask `can_admit` before."""
        seq.block_ids = self._pool.take(cached)
        seq.num_reserved = num_blocks
        self._book(range(cached.num_blocks, num_blocks), 1)

    def extend(self, seq: Sequence, num_blocks: int) -> bool:
        """Promise it so many blocks in all, if every shard can."""
        places = range(seq.num_reserved, num_blocks)
        if not places:
            return True
        if not self._pool.can_allocate(places, beside=self._promised):
            return False
        seq.num_reserved = num_blocks
        self._book(places, 1)
        return True

    def take(self, seq: Sequence, num_blocks: int) -> None:
        """Give it promised blocks until it holds so many."""
        assert num_blocks <= seq.num_reserved, "more blocks than it was promised"
        places = range(len(seq.block_ids), num_blocks)
        seq.block_ids += self._pool.allocate(places)
        self._book(places, -1)

    def release(self, seq: Sequence) -> None:
        """Take back what it holds and what it was promised."""
        self._book(range(len(seq.block_ids), seq.num_reserved), -1)
        self._pool.release(seq.block_ids)
        seq.block_ids = []
        seq.num_reserved = 0

    def check_integrity(self, running: Iterable[Sequence]) -> None:
        """Assert that no reservation is exceeded, and that every shard can keep its promises."""
        promised = [0] * self._pool.num_shards
        for seq in running:
            assert len(seq.block_ids) <= seq.num_reserved, "a reservation is exceeded"
            for place in range(len(seq.block_ids), seq.num_reserved):
                promised[place % self._pool.num_shards] += 1
        assert promised == self._promised, f"promised {promised}, and booked {self._promised}"
        assert self._pool.can_allocate(range(0), beside=promised), "a shard has promised more than it has"

    def _book(self, places: range, change: int) -> None:
        count = self._pool.num_shards
        for shard in range(count):
            self._promised[shard] += change * len(places[(shard - places.start) % count :: count])
