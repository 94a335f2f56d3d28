"""Bounds on the keys of each block: how high a query can score in it is known without reading it.

After Quest (arXiv 2406.10774). A key of the block is at least `lowest` and at most `highest` in each channel, so a
query's product with it is at most the sum over channels of max(query * lowest, query * highest).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.kv.formats.tail import BlockwiseKV, TailedKV
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV, LayerKV, TokenwiseKV
from llama4coder.parallel.plan import RankPlan


@dataclass(frozen=True, slots=True)
class KeyBounds:
    """Of each block, head and channel the lowest and the highest key as attention reads it; known of full blocks."""

    kept: Tensor  # [num_blocks, num_kv_heads, 2, head_dim] in the dtype of what is read, which holds them exactly

    @classmethod
    def allocate(cls, plan: RankPlan, num_blocks: int, dtype: torch.dtype, device: torch.device) -> "KeyBounds":
        """All zeros."""
        return cls(torch.zeros(num_blocks, plan.num_kv_heads, 2, plan.shape.head_dim, dtype=dtype, device=device))

    def note(self, block_ids: Tensor, keys: Tensor) -> None:
        """Full blocks have these keys `[num_blocks, block_size, num_kv_heads, head_dim]`."""
        self.kept[block_ids] = torch.stack((keys.amin(1), keys.amax(1)), dim=2)


@dataclass(frozen=True, slots=True)
class BoundedKV:
    """Implements `kv.tensors.TokenwiseKV`: `kv`, and the bounds of its blocks."""

    kv: TokenwiseKV
    bounds: KeyBounds

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`."""
        return *self.kv.per_block, self.bounds.kept

    def read(self, block_ids: Tensor) -> DenseKV:
        """See `LayerKV.read`."""
        return self.kv.read(block_ids)

    def write(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `TokenwiseKV.write`; who writes the last token of a block has written all others, now or before."""
        self.kv.write(slots, keys, values)
        full = slots[slots % BLOCK_SIZE == BLOCK_SIZE - 1] // BLOCK_SIZE
        if len(full):
            self.bounds.note(full, self.kv.read(full).keys)


@dataclass(frozen=True, slots=True)
class BoundedBlocks:
    """Implements `kv.formats.tail.BlockwiseKV`: `blocks`, and the bounds of what they have become."""

    blocks: BlockwiseKV
    bounds: KeyBounds

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`."""
        return *self.blocks.per_block, self.bounds.kept

    def read(self, block_ids: Tensor) -> DenseKV:
        """See `LayerKV.read`."""
        return self.blocks.read(block_ids)

    def seal(self, block_ids: Tensor, keys: Tensor, values: Tensor) -> None:
        """See `BlockwiseKV.seal`."""
        self.blocks.seal(block_ids, keys, values)
        self.bounds.note(block_ids, self.blocks.read(block_ids).keys)


def bounds_of(kv: LayerKV) -> Tensor:
    """Of all blocks, as `KeyBounds` keeps them."""
    match kv:
        case BoundedKV(bounds=bounds) | TailedKV(blocks=BoundedBlocks(bounds=bounds)):
            return bounds.kept
    raise AssertionError("KV without bounds")
