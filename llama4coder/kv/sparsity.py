"""Which tokens read a few blocks of their sequence only, and how few.

    positions   0 ............ prompt | output ..................................
    reads       everything            | everything, while that is `top_blocks` | `top_blocks` blocks
                                                                               ^ start

What a token reads depends on the request, on its position and on the tokens before it. So preemption, which computes
output again as if it were a prompt, changes nothing; nor do chunks, guesses, or going on elsewhere.
"""

from dataclasses import dataclass

from llama4coder.kv.sizing import BLOCK_SIZE

SINK_BLOCKS = 1  # the first ones, where models put attention that they have no other use for
RECENT_BLOCKS = 2  # a token's own block, and what is right before it


@dataclass(frozen=True, slots=True)
class Sparsity:
    """From position `start` on each token and KV head reads `top_blocks` blocks, and before it everything.

    These are the first `SINK_BLOCKS`, the last `RECENT_BLOCKS` with the token's own, and the best of the others. Where
    blocks are striped over KV shards each shard reads its part of them, rounded up, and any of those beside.
    """

    start: int
    top_blocks: int

    @classmethod
    def of(cls, num_prompt_tokens: int, top_blocks: int) -> "Sparsity":
        """Of one request: prompts are read whole, and so is what is no longer than `top_blocks`."""
        return cls(max(num_prompt_tokens, top_blocks * BLOCK_SIZE), top_blocks)

    def per_shard(self, num_shards: int) -> int:
        """Blocks that one of the shards reads."""
        return -(-self.top_blocks // num_shards)
