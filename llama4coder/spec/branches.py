"""Which blocks hold the keys and values of which guess.

Guesses that begin alike share their blocks. A fork costs nothing: it refers to all blocks of its parent, the last,
partly filled one included. Whoever first writes to a block that others refer to gets a copy of its own; the last one
left writes in place.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from llama4coder.kv.block_pool import BlockPool
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for


class Branch:
    """A run of tokens whose keys and values are kept; changed by its `BranchPool` alone."""

    __slots__ = ("block_ids", "num_tokens")

    def __init__(self, block_ids: list[int], num_tokens: int) -> None:
        self.block_ids = block_ids
        self.num_tokens = num_tokens


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """What a block must hold before it is written to."""

    source: int
    destination: int


class BranchPool:
    """Hands out blocks to branches; ask `num_blocks_to_extend` and `num_free_blocks` first, then `extend`."""

    def __init__(self, num_blocks: int) -> None:
        self._blocks = BlockPool(num_blocks)

    @property
    def num_free_blocks(self) -> int:
        return self._blocks.usage.free

    def new(self) -> Branch:
        """A branch without tokens."""
        return Branch([], 0)

    def fork(self, parent: Branch, num_tokens: int) -> Branch:
        """A branch that begins with the first `num_tokens` of its parent's."""
        assert 0 <= num_tokens <= parent.num_tokens
        block_ids = parent.block_ids[: num_blocks_for(num_tokens)]
        self._blocks.acquire(block_ids)
        return Branch(block_ids, num_tokens)

    def truncate(self, branch: Branch, num_tokens: int) -> None:
        """Forget all but the first `num_tokens`."""
        assert 0 <= num_tokens <= branch.num_tokens
        num_kept = num_blocks_for(num_tokens)
        self._blocks.release(branch.block_ids[num_kept:])
        del branch.block_ids[num_kept:]
        branch.num_tokens = num_tokens

    def release(self, branch: Branch) -> None:
        """Forget all of it."""
        self.truncate(branch, 0)

    def num_blocks_to_extend(self, branch: Branch, num_tokens: int) -> int:
        """How many blocks `extend` takes for so many more tokens; a copy is less often needed than it is counted."""
        num_new = num_blocks_for(branch.num_tokens + num_tokens) - len(branch.block_ids)
        return num_new + (num_tokens > 0 and self._must_copy(branch))

    def extend(self, branch: Branch, num_tokens: int) -> list[BlockCopy]:
        """Make room for more tokens, and say what to copy before they are written: one block at most."""
        if num_tokens == 0:
            return []
        copies = [self._own_last_block(branch)] if self._must_copy(branch) else []
        first, end = len(branch.block_ids), num_blocks_for(branch.num_tokens + num_tokens)
        branch.block_ids += self._blocks.allocate(range(first, end))
        branch.num_tokens += num_tokens
        return copies

    def check_integrity(self, branches: Iterable[Branch]) -> None:
        """Assert that blocks are free, or referred to by these branches, which are all there are."""
        self._blocks.check_integrity()
        branches = list(branches)
        for branch in branches:
            assert len(branch.block_ids) == num_blocks_for(branch.num_tokens), "a branch with too many blocks"
        used = {block_id for branch in branches for block_id in branch.block_ids}
        assert self._blocks.usage.used == len(used), "a block leaked"

    def _must_copy(self, branch: Branch) -> bool:
        return branch.num_tokens % BLOCK_SIZE > 0 and self._blocks.is_shared(branch.block_ids[-1])

    def _own_last_block(self, branch: Branch) -> BlockCopy:
        (own,) = self._blocks.allocate(range(len(branch.block_ids) - 1, len(branch.block_ids)))
        shared = branch.block_ids[-1]
        self._blocks.release([shared])
        branch.block_ids[-1] = own
        return BlockCopy(shared, own)
