"""The memory behind the block pool on one rank."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.parallel.plan import RankPlan


@dataclass(frozen=True, slots=True)
class LayerKV:
    """Keys and values of one layer, each `[num_blocks, block_size, num_kv_heads, head_dim]`."""

    keys: Tensor
    values: Tensor

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store tokens `[num_tokens, num_kv_heads, head_dim]` at flat slots `block_id * block_size + offset`."""
        self.keys.view(-1, *self.keys.shape[2:]).index_copy_(0, slots, keys)
        self.values.view(-1, *self.values.shape[2:]).index_copy_(0, slots, values)


def allocate_kv(plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> list[LayerKV]:
    """Take the whole pool of a rank at once; nothing allocates KV after that (design section 7)."""
    shape = plan.shape
    size = (num_blocks, BLOCK_SIZE, plan.num_kv_heads, shape.head_dim)
    return [
        LayerKV(torch.zeros(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device))
        for _ in range(shape.num_layers)
    ]
