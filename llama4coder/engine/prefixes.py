"""Content that sequences share by its name: looked for, offered, and kept for those that will return."""

from collections.abc import Iterable

from llama4coder.engine.sequence import Sequence
from llama4coder.kv.block_hash import BlockHash, extend_hashes
from llama4coder.kv.block_pool import BlockPool, FoundPrefix


class Prefixes:
    """The names of sequences' blocks, and what the pool has under them; of no effect unless it is enabled."""

    def __init__(self, pool: BlockPool, block_size: int, *, is_enabled: bool) -> None:
        self._pool = pool
        self._block_size = block_size
        self._is_enabled = is_enabled

    def find(self, seq: Sequence) -> FoundPrefix:
        """What a waiting sequence need not compute; one token must be, for its logits."""
        if not self._is_enabled:
            return FoundPrefix()
        self._extend_hashes(seq)
        if seq.wants_prompt_logprobs:
            return FoundPrefix()
        return self._pool.lookup(seq.block_hashes[: (len(seq.token_ids) - 1) // self._block_size])

    def num_uncached(self, seq: Sequence) -> int:
        """Tokens that a waiting sequence must compute, as it was when this was first asked: it is asked often."""
        if seq.num_uncached is None:
            seq.num_uncached = len(seq.token_ids) - self.find(seq).num_blocks * self._block_size
        return seq.num_uncached

    def pending(self, running: Iterable[Sequence]) -> set[BlockHash]:
        """Names of what running sequences are about to offer."""
        return {name for seq in running for name in seq.block_hashes[seq.num_registered :]}

    def is_pending(self, seq: Sequence, found: FoundPrefix, pending: set[BlockHash]) -> bool:
        """Whether the first block that a waiting sequence would have to compute is about to be offered."""
        if seq.wants_prompt_logprobs or found.num_blocks >= len(seq.block_hashes):
            return False
        return seq.block_hashes[found.num_blocks] in pending

    def offer(self, seq: Sequence) -> None:
        """Name the full blocks that it has computed."""
        if not self._is_enabled:
            return
        num_full = min(seq.num_computed, seq.num_shareable) // self._block_size
        self._extend_hashes(seq)
        for index in range(seq.num_registered, num_full):
            self._pool.register(seq.block_ids[index], seq.block_hashes[index])
        seq.num_registered = num_full

    def pin(self, seq: Sequence) -> None:
        """What it has computed is to be found when it goes on, unless it must be computed whole."""
        if not seq.wants_prompt_logprobs:
            seq.num_pinned = seq.num_registered
            self._pool.host.pin(seq.block_hashes[: seq.num_pinned])

    def unpin(self, seq: Sequence) -> None:
        """It goes on, or never will."""
        self._pool.host.unpin(seq.block_hashes[: seq.num_pinned])
        seq.num_pinned = 0

    def _extend_hashes(self, seq: Sequence) -> None:
        """Asked after every step of every sequence, which mostly has no further full block: then it copies nothing."""
        num_shareable = seq.num_shareable
        if len(seq.block_hashes) < num_shareable // self._block_size:
            shareable = seq.token_ids[:num_shareable]
            extend_hashes(seq.block_hashes, shareable, self._block_size, seq.request.cache_salt)
