"""Paged attention in place: no gathering of blocks."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.attention.merge import AttentionOutput, merge
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation
from llama4coder.native.kv import TokenKV, fresh_kv, pointers_to

MAX_GROUP = 16  # query heads per KV head; see bfloat16.h
MAX_HEAD_DIM = 256
_QUERY_TILE = 96  # tokens times heads of a group; see paged_attention.c


class Step(ctypes.Structure):
    """`step` of attention.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("slots", "tiles", "rows", "tables")),
        *((name, ctypes.c_int64) for name in ("m", "num_tiles", "num_rows", "table_width")),
        *((name, ctypes.c_int64) for name in ("heads", "kv_heads", "d")),
        *((name, ctypes.c_int64) for name in ("shard", "num_shards", "window")),
    ]


class _Result(ctypes.Structure):
    """`attention_result` of attention.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("out", "part", "lse")]


class _AttentionArgs(ctypes.Structure):
    """`attention_args` of attention.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("step", "kv", "queries")),
        ("fresh", TokenKV),
        ("to", _Result),
    ]


class _StepAttentionArgs(ctypes.Structure):
    """`step_attention_args` of attention.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("qkv", "cosine", "sine")),
        ("attention", _AttentionArgs),
    ]


def supports(heads: HeadLayout) -> bool:
    """Whether the kernels can compute heads of this layout."""
    group = heads.num_heads // heads.num_kv_heads
    return heads.head_dim % 32 == 0 and heads.head_dim <= MAX_HEAD_DIM and group <= MAX_GROUP


@dataclass(frozen=True, slots=True)
class NativeAttention:
    """Implements `attention.backend.ShardableAttention`."""

    library: ctypes.CDLL
    heads: HeadLayout

    def prepare(self, layout: StepLayout) -> "NativeStepAttention":
        """See `AttentionBackend.prepare`."""
        return NativeStepAttention.of(self.library, self.heads, layout)

    def prepare_shard(self, layout: StepLayout) -> "NativeShardAttention":
        """See `ShardableAttention.prepare_shard`."""
        return NativeShardAttention.of(self.library, self.heads, layout)

    def merge(self, outs: Tensor, lses: Tensor) -> AttentionOutput:
        """See `ShardableAttention.merge`."""
        return merge(outs, lses)


@dataclass(frozen=True, slots=True)
class _PreparedStep:
    """What both kinds of attention are computed from."""

    library: ctypes.CDLL
    heads: HeadLayout
    step: Step
    pointed_at: tuple[object, ...]  # by `step`, which does not keep it alive

    @classmethod
    def of(cls, library: ctypes.CDLL, heads: HeadLayout, layout: StepLayout) -> Self:
        tiles = _query_tiles(layout.rows, _QUERY_TILE // (heads.num_heads // heads.num_kv_heads))
        width = max((layout.num_blocks(row) for row in layout.rows), default=0)
        tables = np.ascontiguousarray(layout.table[[row.table_row for row in layout.rows], :width])
        rows = [(row.first, row.num_tokens, row.start, row.table_row) for row in layout.rows]
        step_rows = np.array(rows, dtype=np.int64).reshape(-1, 4)
        step = Step(
            layout.slots.data_ptr(),
            tiles.ctypes.data,
            step_rows.ctypes.data,
            tables.ctypes.data,
            len(layout.slots),
            len(tiles),
            len(rows),
            width,
            heads.num_heads,
            heads.num_kv_heads,
            heads.head_dim,
            layout.shard.index,
            layout.shard.count,
            heads.window or 0,
        )
        return cls(library, heads, step, (layout.slots, tiles, step_rows, tables))

    def run(self, qkv: Tensor, rotation: Rotation, kv: LayerKV, to: _Result) -> None:
        """Rotate, write, and attend."""
        queries = torch.empty(len(qkv), self.heads.num_heads, self.heads.head_dim, dtype=torch.bfloat16)
        fresh = fresh_kv(kv, len(qkv), self.heads.num_kv_heads, self.heads.head_dim)
        pool = pointers_to(kv)
        attention = _AttentionArgs(
            ctypes.addressof(self.step),
            ctypes.addressof(pool),
            queries.data_ptr(),
            TokenKV(fresh[0].data_ptr(), fresh[1].data_ptr()),
            to,
        )
        pointers = (tensor.data_ptr() for tensor in (qkv, rotation.cos, rotation.sin))
        self.library.l4c_step_attention(ctypes.byref(_StepAttentionArgs(*pointers, attention)))


class NativeStepAttention(_PreparedStep):
    """See `attention.backend.StepAttention`."""

    __slots__ = ()

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        out = torch.empty(len(qkv), self.heads.num_heads * self.heads.head_dim, dtype=torch.bfloat16)
        self.run(qkv, rotation, kv, _Result(out=out.data_ptr()))
        return out


class NativeShardAttention(_PreparedStep):
    """See `attention.backend.ShardAttention`."""

    __slots__ = ()

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> AttentionOutput:
        part = torch.empty(len(qkv), self.heads.num_heads, self.heads.head_dim)
        lse = torch.empty(part.shape[:2])
        self.run(qkv, rotation, kv, _Result(part=part.data_ptr(), lse=lse.data_ptr()))
        return AttentionOutput(part, lse)


def _query_tiles(rows: Sequence[RowSpan], max_tokens: int) -> npt.NDArray[np.int64]:
    """`query_tile`s of attention.h, `[num_tiles, 5]`; those with the most to do first, so that none is late."""
    tiles = [
        (row.first + offset, min(max_tokens, row.num_tokens - offset), row.start + offset, index, 0)
        for index, row in enumerate(row.dense_part for row in rows)
        for offset in range(0, row.num_tokens, max_tokens)
    ]
    tiles.sort(key=lambda tile: tile[1] * (tile[1] + tile[2]), reverse=True)
    # Each token has blocks of its own; together they cost less than a tile that reads everything.
    tiles += [
        (row.first + offset, 1, row.start + offset, index, row.sparsity.top_blocks)
        for index, row in enumerate(row.sparse_part for row in rows)
        if row.sparsity is not None
        for offset in range(row.num_tokens)
    ]
    return np.array(tiles, dtype=np.int64).reshape(-1, 5)
