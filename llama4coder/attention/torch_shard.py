"""Attention to one KV shard's keys with torch alone: what other backends' partial results are compared with."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.attention.masked import attend_masked
from llama4coder.attention.merge import AttentionOutput
from llama4coder.attention.selection import BlockChoice
from llama4coder.kv.formats.bounds import BoundedKV, bounds_of
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.striping import nums_held
from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.layers.rope import Rotation


@dataclass(frozen=True, slots=True)
class TorchShardAttention:
    """Implements `attention.backend.ShardAttention`, row by row, with the scores in float32."""

    heads: HeadLayout
    kept: Tensor  # [num_kept], the tokens that this shard keeps
    slots: Tensor  # [num_kept], where
    rows: tuple["ShardRow", ...]

    @classmethod
    def of(cls, heads: HeadLayout, layout: StepLayout) -> "TorchShardAttention":
        kept = (layout.slots >= 0).nonzero().squeeze(1)
        rows = tuple(ShardRow.of(row, layout) for row in layout.rows)
        return cls(heads, kept, layout.slots[kept], tuple(row for row in rows if len(row.block_ids)))

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> AttentionOutput:
        assert isinstance(kv, DenseKV | Int8KV | BoundedKV), "KV of another format"
        heads = qkv.view(len(qkv), -1, self.heads.head_dim)
        first_key, first_value = self.heads.num_heads, self.heads.num_heads + self.heads.num_kv_heads
        keys, values = rotation(heads[:, first_key:first_value]), heads[:, first_value:]
        kv.write(self.slots, keys[self.kept], values[self.kept])
        queries = rotation(heads[:, :first_key]).float()
        out, lse = torch.zeros_like(queries), queries.new_full(queries.shape[:2], -torch.inf)
        for row in self.rows:
            seen = row.attend(queries[row.tokens], kv)
            out[row.tokens], lse[row.tokens] = seen.out, seen.lse
        return AttentionOutput(out, lse)


@dataclass(frozen=True, slots=True)
class ShardRow:
    """The tokens of one sequence, and the keys of it that the shard holds."""

    tokens: slice
    block_ids: Tensor  # as many as the last token sees
    hidden: Tensor  # [num_tokens, 1, keys of these blocks], True where a key comes after the token
    choice: BlockChoice | None  # of these blocks

    @classmethod
    def of(cls, row: RowSpan, layout: StepLayout) -> "ShardRow":
        nums_seen = nums_held(np.arange(row.start, row.length) + 1, layout.shard)
        block_ids = layout.table[row.table_row, : layout.num_blocks(row)].copy()
        hidden = np.arange(len(block_ids) * BLOCK_SIZE) >= nums_seen[:, None, None]
        device = layout.slots.device
        tokens = slice(row.first, row.first + row.num_tokens)
        ids, hidden_keys = (torch.from_numpy(array).to(device) for array in (block_ids, hidden))
        return cls(tokens, ids, hidden_keys, BlockChoice.of(row, layout))

    def attend(self, queries: Tensor, kv: LayerKV) -> AttentionOutput:
        """Of `queries` `[num_tokens, num_heads, head_dim]` in float32."""
        seen, hidden = kv.read(self.block_ids), self.hidden
        if self.choice is not None:
            left_out = self.choice.left_out(queries, bounds_of(kv))
            hidden = hidden | left_out.repeat_interleave(BLOCK_SIZE, dim=-1)
        return attend_masked(queries, DenseKV(seen.keys.flatten(0, 1), seen.values.flatten(0, 1)), hidden)
