"""Which blocks a token reads that may not read all: by the bounds of their keys, with torch alone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import RowSpan, StepLayout
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.sparsity import RECENT_BLOCKS, SINK_BLOCKS


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """What the tokens of one row may read of the `num_blocks` blocks that a KV shard holds of their sequence."""

    block_ids: Tensor  # [num_blocks]
    seen: Tensor  # [num_tokens, num_blocks], True where the block has a token that is not after the query
    always: Tensor  # [num_tokens, num_blocks], of these the ones that are read whatever is in them
    limits: Tensor  # [num_tokens, 1], blocks that are read in all

    @classmethod
    def of(cls, row: RowSpan, layout: StepLayout) -> "BlockChoice | None":
        """None where every token reads everything."""
        if row.sparsity is None or not row.num_sparse:
            return None
        shard, device = layout.shard, layout.slots.device
        num_blocks = layout.num_blocks(row)
        blocks = np.arange(num_blocks) * shard.count + shard.index
        positions = np.arange(row.start, row.length)[:, None]
        own = positions // BLOCK_SIZE
        seen = blocks <= own
        always = seen & ((blocks < SINK_BLOCKS) | (blocks > own - RECENT_BLOCKS))
        limits = np.where(positions < row.sparsity.start, num_blocks, row.sparsity.per_shard(shard.count))
        block_ids = layout.table[row.table_row, :num_blocks].copy()
        return cls(*(torch.from_numpy(array).to(device) for array in (block_ids, seen, always, limits)))

    def left_out(self, queries: Tensor, bounds: Tensor) -> Tensor:
        """`[num_tokens, num_kv_heads, num_blocks]`, True where a block is not read.

        Of `queries` `[num_tokens, num_heads, head_dim]` in float32, by the bounds of all blocks of the pool.
        """
        scores = highest_scores(queries, bounds[self.block_ids])
        return ~select_blocks(scores, self.seen, self.always, self.limits)


def highest_scores(queries: Tensor, bounds: Tensor) -> Tensor:
    """What a KV head's query heads can score in a block at most, summed: `[num_tokens, num_kv_heads, num_blocks]`.

    Of `queries` `[num_tokens, num_heads, head_dim]` and `bounds` `[num_blocks, num_kv_heads, 2, head_dim]`, which are
    the lowest and the highest keys; before they are scaled. The sum keeps more of the heads' attention than the highest
    of them does.
    """
    num_tokens, _, head_dim = queries.shape
    # [num_kv_heads, head_dim, num_blocks]
    lowest, highest = (part.permute(1, 2, 0) for part in bounds.float().unbind(2))
    grouped = queries.view(num_tokens, len(lowest), -1, head_dim).transpose(0, 1)
    scores = grouped.clamp(min=0).sum(2) @ highest + grouped.clamp(max=0).sum(2) @ lowest
    return scores.transpose(0, 1)


def select_blocks(scores: Tensor, seen: Tensor, always: Tensor, limits: Tensor) -> Tensor:
    """`[num_tokens, num_kv_heads, num_blocks]`, True where a block is read; of equal ones the first.

    The other arguments are those of `BlockChoice`.
    """
    seen, always, limits = seen.unsqueeze(1), always.unsqueeze(1), limits.unsqueeze(1)
    ranked = scores.masked_fill(~seen, -torch.inf).masked_fill(always, torch.inf)
    order = ranked.sort(dim=-1, descending=True, stable=True).indices
    ranks = torch.empty_like(order)
    ranks.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))
    return seen & (always | (ranks < limits))
