"""Which tokens of a sequence a KV shard holds: block i of a sequence lies on shard i mod `count`.

A block id says where: block b is place b // count of shard b mod count. A shard keeps its blocks of a sequence in their
order, so what a token may see there is a beginning of them, and one number says how long it is.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.parallel.layout import Part

UNSHARDED = Part(0, 1)
NOWHERE = -1  # the slot of a token that another shard keeps


def num_held(num_tokens: int, shard: Part) -> int:
    """How many of the first `num_tokens` tokens of a sequence lie on this shard."""
    full, rest = divmod(num_tokens, BLOCK_SIZE)
    num_blocks = (full + shard.count - 1 - shard.index) // shard.count
    return BLOCK_SIZE * num_blocks + (rest if full % shard.count == shard.index else 0)


def nums_held(nums_tokens: npt.NDArray[np.int64], shard: Part) -> npt.NDArray[np.int64]:
    """`num_held` of each."""
    full, rest = np.divmod(nums_tokens, BLOCK_SIZE)
    nums_blocks: npt.NDArray[np.int64] = (full + shard.count - 1 - shard.index) // shard.count
    return BLOCK_SIZE * nums_blocks + np.where(full % shard.count == shard.index, rest, 0)


def places_held(block_ids: Sequence[int], shard: Part) -> list[int]:
    """The places of those blocks that lie on this shard, in their order."""
    return [block_id // shard.count for block_id in block_ids if block_id % shard.count == shard.index]


def slots_of(
    positions: npt.NDArray[np.int64], table_rows: npt.NDArray[np.int64], table: npt.NDArray[np.int64], shard: Part
) -> npt.NDArray[np.int64]:
    """Where tokens' keys and values go, place * BLOCK_SIZE + offset, or `NOWHERE`.

    Token i is at `positions[i]` of the sequence whose places on this shard are in row `table_rows[i]` of the table.
    """
    blocks, offsets = np.divmod(positions, BLOCK_SIZE)
    is_held = blocks % shard.count == shard.index
    places = table[table_rows, np.where(is_held, blocks // shard.count, 0)]
    return np.where(is_held, places * BLOCK_SIZE + offsets, NOWHERE)
