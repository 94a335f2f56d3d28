"""The memory behind the block pool on one rank."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.parallel.plan import RankPlan


class LayerKV(Protocol):
    """Keys and values of one layer in blocks; each format keeps them in its own way.

    An attention backend is made for one format, and is given KV of that format.
    """

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """All that is kept by the block, `[num_blocks, ...]` each: who copies their rows copies blocks."""
        ...

    def read(self, block_ids: Tensor) -> "DenseKV":
        """Blocks as attention sees them, `[*block_ids.shape, block_size, num_kv_heads, head_dim]`."""
        ...


class TokenwiseKV(LayerKV, Protocol):
    """A format in which each token is kept by itself, and is read as it was kept from the moment it is written."""

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store tokens `[num_tokens, num_kv_heads, head_dim]` at flat slots `block_id * block_size + offset`."""
        ...


@dataclass(frozen=True, slots=True)
class DenseKV:
    """Implements `TokenwiseKV` in the model's dtype: each `[num_blocks, block_size, num_kv_heads, head_dim]`."""

    keys: Tensor
    values: Tensor

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "DenseKV":
        """All zeros."""
        size = (num_blocks, BLOCK_SIZE, plan.num_kv_heads, plan.shape.head_dim)
        return cls(torch.zeros(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device))

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`."""
        return self.keys, self.values

    def read(self, block_ids: Tensor) -> "DenseKV":
        """See `LayerKV.read`."""
        return DenseKV(self.keys[block_ids], self.values[block_ids])

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `TokenwiseKV.write`."""
        self.keys.view(-1, *self.keys.shape[2:]).index_copy_(0, slots, keys)
        self.values.view(-1, *self.values.shape[2:]).index_copy_(0, slots, values)


@dataclass(frozen=True, slots=True)
class CopyableKV:
    """KV of all layers in one piece, so that copying blocks takes as few calls for many layers as for one."""

    blocks: Tensor  # [num_layers, 2, num_blocks, block_size, num_kv_heads, head_dim]: keys, values

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "CopyableKV":
        """Take the whole pool at once; nothing allocates KV after that (design section 7)."""
        size = (plan.shape.num_layers, 2, num_blocks, BLOCK_SIZE, plan.num_kv_heads, plan.shape.head_dim)
        return cls(torch.zeros(size, dtype=dtype, device=device))

    def layers(self) -> list[DenseKV]:
        """Views of each layer."""
        return [DenseKV(keys, values) for keys, values in self.blocks]

    def copy(self, sources: Tensor, destinations: Tensor) -> None:
        """Copy whole blocks, given by their ids; the ones that are written to are not among those that are read."""
        self.blocks.index_copy_(2, destinations, self.blocks.index_select(2, sources))
