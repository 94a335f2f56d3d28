"""Formats that compress a block when it is full, and what they keep dense until then.

    positions   0 ........ 15 | 16 ....... 31 | 32 .. 37 | 38 39 40
    blocks      compressed    | compressed    | being filled        (38 to 40 are guesses)
    token 37 reads   compressed keys 0 to 31    dense keys 32 to 37
    token 31 read    compressed keys 0 to 15    dense keys 16 to 31

Every token reads its own block dense and all blocks before it compressed, whether they were compressed long ago, come
from the prefix cache, or became full in the same step. So what a token reads depends on the tokens before it alone: not
on how a prompt was cut into chunks, on who shared the step, or on guesses that turned out wrong. A block that guesses
have filled is compressed at once, and again when the right tokens have filled it.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.parallel.plan import RankPlan


class BlockwiseKV(LayerKV, Protocol):
    """Compresses whole blocks."""

    def seal(self, block_ids: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store blocks `[num_blocks, block_size, num_kv_heads, head_dim]`; no id occurs twice."""
        ...


@dataclass(frozen=True, slots=True)
class TailedKV:
    """Implements `kv.tensors.LayerKV`: blocks of a compressing format, and each running sequence's last tokens.

    A sequence's tail is a ring: the token at position p is at p modulo its length, for as long as p is among the last.
    """

    blocks: BlockwiseKV
    tail: DenseKV  # each [max_sequences, tail_tokens, num_kv_heads, head_dim]

    @classmethod
    def allocate(
        cls, blocks: BlockwiseKV, plan: RankPlan, tails: "TailSize", dtype: torch.dtype, device: torch.device
    ) -> "TailedKV":
        """All zeros."""
        size = (tails.num_sequences, tails.num_tokens, plan.num_kv_heads, plan.shape.head_dim)
        keys, values = (torch.zeros(size, dtype=dtype, device=device) for _ in range(2))
        return cls(blocks, DenseKV(keys, values))

    @property
    def per_block(self) -> tuple[Tensor, ...]:
        """See `LayerKV.per_block`; tails are computed again by whoever reads the blocks later."""
        return self.blocks.per_block

    def read(self, block_ids: Tensor) -> DenseKV:
        """See `LayerKV.read`."""
        return self.blocks.read(block_ids)

    def read_tail(self, table_row: int, positions: Tensor) -> DenseKV:
        """The tokens `[num_tokens, num_kv_heads, head_dim]` of one sequence at these positions, the last ones."""
        places = positions % self.tail.keys.shape[1]
        return DenseKV(self.tail.keys[table_row, places], self.tail.values[table_row, places])

    def keep(self, table_rows: Tensor, positions: Tensor, lengths: Tensor, tokens: DenseKV) -> None:
        """Put a step's tokens `[num_tokens, num_kv_heads, head_dim]` into the tails, of long rows the last ones.

        `lengths` is for each token how many its sequence has in the end.
        """
        tail_tokens = self.tail.keys.shape[1]
        kept = positions >= lengths - tail_tokens
        rows, places = table_rows[kept], positions[kept] % tail_tokens
        self.tail.keys[rows, places] = tokens.keys[kept]
        self.tail.values[rows, places] = tokens.values[kept]


@dataclass(frozen=True, slots=True)
class TailSize:
    """How many tails, and of how many tokens each."""

    num_sequences: int
    num_tokens: int


def joined(first: DenseKV, second: DenseKV) -> DenseKV:
    """One after the other."""
    return DenseKV(torch.cat((first.keys, second.keys)), torch.cat((first.values, second.values)))
