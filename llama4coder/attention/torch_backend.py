"""Paged attention with torch alone: runs anywhere, and is what every other backend is compared with."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.attention.merge import AttentionOutput, merge
from llama4coder.attention.torch_shard import ShardRow, TorchShardAttention
from llama4coder.kv.formats.bounds import BoundedKV
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.sizing import BLOCK_SIZE, num_blocks_for
from llama4coder.kv.step_sizing import GATHERED_TOKENS
from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.layers.rope import Rotation


@dataclass(frozen=True, slots=True)
class TorchAttention:
    """Implements `attention.backend.ShardableAttention` for formats that keep each token by itself.

    Gathers each sequence's blocks into a contiguous run and uses scaled_dot_product_attention. Tokens that read a few
    blocks only are computed as a shard's are.
    """

    heads: HeadLayout

    def prepare(self, layout: StepLayout) -> "TorchStepAttention":
        """See `AttentionBackend.prepare`."""
        dense, sparse = [row.dense_part for row in layout.rows], [row.sparse_part for row in layout.rows]
        singles = [row for row in dense if row.num_tokens == 1]
        return TorchStepAttention(
            self.heads,
            layout.slots,
            decodes=tuple(_decode_group(group, layout, self.heads.window) for group in _by_length(singles)),
            prefills=tuple(PrefillRow.of(row, layout, self.heads.window) for row in dense if row.num_tokens > 1),
            sparse=tuple(ShardRow.of(row, layout) for row in sparse if row.num_tokens),
        )

    def prepare_shard(self, layout: StepLayout) -> TorchShardAttention:
        """See `ShardableAttention.prepare_shard`."""
        return TorchShardAttention.of(self.heads, layout)

    def merge(self, outs: Tensor, lses: Tensor) -> AttentionOutput:
        """See `ShardableAttention.merge`."""
        return merge(outs, lses)


@dataclass(frozen=True, slots=True)
class TorchStepAttention:
    """See `StepAttention`."""

    heads: HeadLayout
    slots: Tensor
    decodes: tuple["DecodeGroup", ...]
    prefills: tuple["PrefillRow", ...]
    sparse: tuple[ShardRow, ...]

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        assert isinstance(kv, DenseKV | Int8KV | BoundedKV), "KV of another format"
        heads = qkv.view(len(qkv), -1, self.heads.head_dim)
        first_key, first_value = self.heads.num_heads, self.heads.num_heads + self.heads.num_kv_heads
        kv.write(self.slots, rotation(heads[:, first_key:first_value]), heads[:, first_value:])
        queries = rotation(heads[:, :first_key])
        out = torch.empty_like(queries)
        for group in self.decodes:
            out[group.token_index] = group.attend(queries[group.token_index], kv)
        for row in self.prefills:
            out[row.tokens] = row.attend(queries[row.tokens], kv)
        for few in self.sparse:
            out[few.tokens] = few.attend(queries[few.tokens].float(), kv).out.to(out.dtype)
        return out.flatten(1)


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """Sequences with one new token each and contexts of like length, computed together."""

    token_index: Tensor  # [num_sequences], their tokens' places in the step
    block_table: Tensor  # [num_sequences, max_blocks]
    mask: Tensor  # [num_sequences, 1, 1, max_blocks * block_size], True where a token may be attended

    def attend(self, queries: Tensor, kv: LayerKV) -> Tensor:
        """Query heads that share a KV head become rows of one product, so keys and values are read once."""
        num_sequences, num_heads, head_dim = queries.shape
        seen = kv.read(self.block_table)
        # [num_sequences, num_kv_heads, length, head_dim]
        keys, values = (part.flatten(1, 2).transpose(1, 2) for part in (seen.keys, seen.values))
        num_kv_heads = keys.shape[1]
        grouped = queries.view(num_sequences, num_kv_heads, num_heads // num_kv_heads, head_dim)
        attended = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=self.mask)
        return attended.reshape(num_sequences, num_heads, head_dim)


@dataclass(frozen=True, slots=True)
class PrefillRow:
    """Several tokens of one sequence."""

    tokens: slice
    start: int
    length: int
    block_ids: Tensor
    window: int | None

    @classmethod
    def of(cls, row: RowSpan, layout: StepLayout, window: int | None) -> "PrefillRow":
        block_ids = layout.table[row.table_row, : num_blocks_for(row.length)].copy()
        tokens = slice(row.first, row.first + row.num_tokens)
        return cls(tokens, row.start, row.length, torch.from_numpy(block_ids).to(layout.slots.device), window)

    def attend(self, queries: Tensor, kv: LayerKV) -> Tensor:
        """Queries and result are `[num_tokens, num_heads, head_dim]`."""
        seen = kv.read(self.block_ids)
        keys, values = (part.flatten(0, 1)[: self.length].transpose(0, 1) for part in (seen.keys, seen.values))
        mask = self._mask(queries.device)
        attended = F.scaled_dot_product_attention(
            queries.transpose(0, 1).unsqueeze(0),
            keys.unsqueeze(0),
            values.unsqueeze(0),
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=True,
        )
        return attended.squeeze(0).transpose(0, 1)

    def _mask(self, device: torch.device) -> Tensor | None:
        """True where a token may be attended; None where that is everything up to the token itself."""
        is_cut = self.window is not None and self.window < self.length
        if not self.start and not is_cut:
            return None
        # Token i of a later chunk sees everything up to position start + i.
        seen = torch.ones(self.length - self.start, self.length, dtype=torch.bool, device=device).tril(self.start)
        return seen if self.window is None else seen.triu(self.start - self.window + 1)


def _by_length(rows: Sequence[RowSpan]) -> list[list[RowSpan]]:
    """Group rows whose block counts share a power of two: padding at most doubles what a row reads.

    A group gathers no more than `GATHERED_TOKENS`, unless one row alone does.
    """
    groups: dict[int, list[RowSpan]] = defaultdict(list)
    for row in rows:
        groups[num_blocks_for(row.length).bit_length()].append(row)
    return [part for exponent, group in groups.items() for part in _in_parts(group, BLOCK_SIZE << exponent)]


def _in_parts(rows: list[RowSpan], most_tokens: int) -> list[list[RowSpan]]:
    size = max(1, GATHERED_TOKENS // most_tokens)
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _decode_group(rows: Sequence[RowSpan], layout: StepLayout, window: int | None) -> DecodeGroup:
    device = layout.slots.device
    lengths = np.array([row.length for row in rows])
    num_blocks = num_blocks_for(int(lengths.max()))
    positions = np.arange(num_blocks * BLOCK_SIZE)
    mask = positions < lengths[:, None]
    if window is not None:
        mask &= positions >= lengths[:, None] - window
    return DecodeGroup(
        token_index=torch.tensor([row.first for row in rows], device=device),
        block_table=torch.from_numpy(layout.table[[row.table_row for row in rows], :num_blocks]).to(device),
        mask=torch.from_numpy(mask).to(device)[:, None, None, :],
    )
