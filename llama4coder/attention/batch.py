"""Which tokens of a step belong to which sequence, and where their keys and values go."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from llama4coder.kv.sizing import num_blocks_for
from llama4coder.kv.sparsity import Sparsity
from llama4coder.kv.striping import UNSHARDED, num_held
from llama4coder.parallel.layout import Part


@dataclass(frozen=True, slots=True)
class RowSpan:
    """Tokens `[first, first + num_tokens)` of the step: one sequence's positions from `start` on."""

    first: int
    num_tokens: int
    start: int
    table_row: int  # of the block table
    sparsity: Sparsity | None = None  # None: every token reads everything before it

    @property
    def length(self) -> int:
        """Tokens that the last of them attends to."""
        return self.start + self.num_tokens

    @property
    def num_sparse(self) -> int:
        """Tokens, the last ones, that read a few blocks only."""
        return 0 if self.sparsity is None else min(self.num_tokens, max(0, self.length - self.sparsity.start))

    @property
    def dense_part(self) -> "RowSpan":
        """The tokens that read everything; possibly none."""
        return replace(self, num_tokens=self.num_tokens - self.num_sparse)

    @property
    def sparse_part(self) -> "RowSpan":
        """The other tokens; possibly none."""
        num_dense = self.num_tokens - self.num_sparse
        return replace(self, first=self.first + num_dense, start=self.start + num_dense, num_tokens=self.num_sparse)


@dataclass(frozen=True, slots=True)
class StepLayout:
    """All rows of a step over the block table `[max_sequences, max_blocks]`, which changes from step to step.

    Of a sequence's blocks the table has those that this KV shard holds, by their places on it, in their order.
    """

    rows: tuple[RowSpan, ...]
    slots: Tensor  # [num_tokens], place * block_size + offset of each token; negative: kept by another shard
    table: npt.NDArray[np.int64]
    shard: Part = UNSHARDED

    def num_blocks(self, row: RowSpan) -> int:
        """Entries of the table that the row reads."""
        return num_blocks_for(num_held(row.length, self.shard))


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """How many heads there are, and how far back they see.

    Query head h reads KV head h // (num_heads // num_kv_heads). The token at position p sees those after p - window; a
    window is at least a block, and never together with several KV shards or with sparsity.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int | None = None
