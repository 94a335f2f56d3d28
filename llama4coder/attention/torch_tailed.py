"""Paged attention over blocks that are compressed when they are full, with torch alone; see `kv.formats.tail`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.attention.masked import attend_masked
from llama4coder.attention.merge import AttentionOutput, merge
from llama4coder.attention.selection import BlockChoice
from llama4coder.kv.formats.bounds import bounds_of
from llama4coder.kv.formats.tail import TailedKV, joined
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.parallel.layout import Part


@dataclass(frozen=True, slots=True)
class TorchTailedAttention:
    """Implements `attention.backend.ShardableAttention` for `TailedKV`, row by row, with the scores in float32."""

    heads: HeadLayout

    def prepare(self, layout: StepLayout) -> "TorchTailedStep":
        """See `AttentionBackend.prepare`."""
        return TorchTailedStep(self.prepare_shard(layout))

    def prepare_shard(self, layout: StepLayout) -> "TorchTailedShard":
        """See `ShardableAttention.prepare_shard`."""
        return TorchTailedShard.of(self.heads, layout)

    def merge(self, outs: Tensor, lses: Tensor) -> AttentionOutput:
        """See `ShardableAttention.merge`."""
        return merge(outs, lses)


@dataclass(frozen=True, slots=True)
class TorchTailedStep:
    """See `attention.backend.StepAttention`."""

    shard: "TorchTailedShard"

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        return self.shard(qkv, rotation, kv).out.flatten(1).to(qkv.dtype)


@dataclass(frozen=True, slots=True)
class TorchTailedShard:
    """See `attention.backend.ShardAttention`; tails have every token, whichever shard its block will lie on."""

    heads: HeadLayout
    rows: tuple["TailedRow", ...]
    table_rows: Tensor  # [num_tokens]
    positions: Tensor  # [num_tokens]
    lengths: Tensor  # [num_tokens], of each token's sequence

    @classmethod
    def of(cls, heads: HeadLayout, layout: StepLayout) -> "TorchTailedShard":
        device = layout.slots.device
        nums_tokens = torch.tensor([row.num_tokens for row in layout.rows], device=device)
        table_rows = torch.tensor([row.table_row for row in layout.rows], device=device)
        lengths = torch.tensor([row.length for row in layout.rows], device=device)
        positions = np.concatenate([np.arange(row.start, row.length) for row in layout.rows])
        return cls(
            heads,
            tuple(TailedRow.of(row, layout, heads.window) for row in layout.rows),
            table_rows.repeat_interleave(nums_tokens),
            torch.from_numpy(positions).to(device),
            lengths.repeat_interleave(nums_tokens),
        )

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> AttentionOutput:
        assert isinstance(kv, TailedKV), "KV of another format"
        heads = qkv.view(len(qkv), -1, self.heads.head_dim)
        first_key, first_value = self.heads.num_heads, self.heads.num_heads + self.heads.num_kv_heads
        fresh = DenseKV(rotation(heads[:, first_key:first_value]), heads[:, first_value:])
        queries = rotation(heads[:, :first_key]).float()
        out, lse = torch.empty_like(queries), queries.new_empty(queries.shape[:2])
        for row in self.rows:
            seen = row.attend(queries[row.tokens], row.window(fresh, kv), kv)
            out[row.tokens], lse[row.tokens] = seen.out, seen.lse
        kv.keep(self.table_rows, self.positions, self.lengths, fresh)
        return AttentionOutput(out, lse)


@dataclass(frozen=True, slots=True)
class TailedRow:
    """The tokens of one sequence; its window are all tokens from the beginning of the first one's block on."""

    tokens: slice
    table_row: int
    choice: BlockChoice | None  # of compressed blocks, and perhaps one that is not yet full
    from_tail: Tensor  # positions of the window that come before the step's own tokens
    sealed: Tensor  # [num_sealed], the window's full blocks that this shard holds, counted from its beginning
    sealed_ids: Tensor  # [num_sealed], where they go
    compressed_ids: Tensor  # blocks of the shard that are or become compressed
    dense: Tensor  # tokens of the window whose blocks are the shard's, counted from its beginning
    hidden: Tensor  # [num_tokens, 1, BLOCK_SIZE * len(compressed_ids) + len(dense)]

    @classmethod
    def of(cls, row: RowSpan, layout: StepLayout, window_tokens: int | None) -> "TailedRow":
        shard, device = layout.shard, layout.slots.device
        first = row.start // BLOCK_SIZE
        own = np.arange(row.start, row.length)[:, None] // BLOCK_SIZE  # each token's own block
        full = _held(np.arange(row.length // BLOCK_SIZE), shard)
        window = np.arange(first * BLOCK_SIZE, row.length)
        dense = window[window // BLOCK_SIZE % shard.count == shard.index]
        sees_compressed = np.repeat(full, BLOCK_SIZE) < own
        if window_tokens is not None:
            compressed = (full[:, None] * BLOCK_SIZE + np.arange(BLOCK_SIZE)).reshape(-1)
            sees_compressed &= compressed > np.arange(row.start, row.length)[:, None] - window_tokens
        sees_dense = (dense // BLOCK_SIZE == own) & (dense <= np.arange(row.start, row.length)[:, None])
        ids = layout.table[row.table_row, full // shard.count]
        hidden = ~np.concatenate((sees_compressed, sees_dense), axis=1)[:, None]
        arrays = (window[window < row.start], full[full >= first] - first, ids[full >= first], ids)
        on_device = [torch.from_numpy(array).to(device) for array in (*arrays, dense - first * BLOCK_SIZE, hidden)]
        tokens = slice(row.first, row.first + row.num_tokens)
        return cls(tokens, row.table_row, BlockChoice.of(row, layout), *on_device)

    def window(self, fresh: DenseKV, kv: TailedKV) -> DenseKV:
        """The window's tokens `[num_tokens, num_kv_heads, head_dim]`, from the tail and from those of the step."""
        before = kv.read_tail(self.table_row, self.from_tail)
        return joined(before, DenseKV(fresh.keys[self.tokens], fresh.values[self.tokens]))

    def attend(self, queries: Tensor, window: DenseKV, kv: TailedKV) -> AttentionOutput:
        """Compress what has become full, and read."""
        if len(self.sealed):
            num_full = len(window.keys) // BLOCK_SIZE
            keys, values = (part[: num_full * BLOCK_SIZE] for part in (window.keys, window.values))
            keys, values = (part.view(num_full, BLOCK_SIZE, *part.shape[1:])[self.sealed] for part in (keys, values))
            kv.blocks.seal(self.sealed_ids, keys, values)
        compressed = kv.read(self.compressed_ids)
        before = DenseKV(compressed.keys.flatten(0, 1), compressed.values.flatten(0, 1))
        own = DenseKV(window.keys[self.dense], window.values[self.dense])
        return attend_masked(queries, joined(before, own), self._hidden(queries, kv))

    def _hidden(self, queries: Tensor, kv: TailedKV) -> Tensor:
        if self.choice is None:
            return self.hidden
        left_out = self.choice.left_out(queries, bounds_of(kv))[..., : len(self.compressed_ids)]
        of_keys = left_out.repeat_interleave(BLOCK_SIZE, dim=-1)
        return self.hidden | F.pad(of_keys, (0, len(self.dense)))  # a token's own block is never left out


def _held(blocks: npt.NDArray[np.int64], shard: Part) -> npt.NDArray[np.int64]:
    held: npt.NDArray[np.int64] = blocks[blocks % shard.count == shard.index]
    return held
