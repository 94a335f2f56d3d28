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

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """Every tensor that holds something of each block, blocks first."""
        return self.keys, self.values

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store tokens `[num_tokens, num_kv_heads, head_dim]` at flat slots `block_id * block_size + offset`."""
        self.keys.view(-1, *self.keys.shape[2:]).index_copy_(0, slots, keys)
        self.values.view(-1, *self.values.shape[2:]).index_copy_(0, slots, values)


@dataclass(frozen=True, slots=True)
class CopyableKV:
    """KV of all layers in one piece, so that copying blocks takes as few calls for many layers as for one."""

    blocks: Tensor  # [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim]: keys, values

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "CopyableKV":
        """See `allocate_kv`."""
        size = (plan.shape.num_layers, 2, num_blocks, BLOCK_SIZE, plan.num_kv_heads, plan.shape.head_dim)
        return cls(torch.zeros(size, dtype=dtype, device=device))

    def layers(self) -> list[LayerKV]:
        """Views of each layer."""
        return [LayerKV(keys, values) for keys, values in self.blocks]

    def copy(self, sources: Tensor, destinations: Tensor) -> None:
        """Copy whole blocks, given by their ids; the ones that are written to are not among those that are read."""
        self.blocks.index_copy_(2, destinations, self.blocks.index_select(2, sources))


def allocate_kv(plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> list[LayerKV]:
    """Take the whole pool of a rank at once; nothing allocates KV after that (design section 7)."""
    shape = plan.shape
    size = (num_blocks, BLOCK_SIZE, plan.num_kv_heads, shape.head_dim)
    return [
        LayerKV(torch.zeros(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device))
        for _ in range(shape.num_layers)
    ]
