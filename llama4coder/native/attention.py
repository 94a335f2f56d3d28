"""Paged attention in place: no gathering of blocks for the rows of a decode step."""

import ctypes
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.attention.merge import AttentionOutput, merge
from llama4coder.kv.striping import nums_held
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation

MAX_GROUP = 16  # query heads per KV head; see bfloat16.h
MAX_HEAD_DIM = 256
_MAX_SHORT_ROW = 8  # tokens; longer rows share each packing of their keys among many of them


class _LongRow(ctypes.Structure):
    """`long_row` of attention.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("first", "num_tokens", "start")),
        ("table", ctypes.c_void_p),
    ]


class Step(ctypes.Structure):
    """`step` of attention.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("slots", "tokens", "lengths", "tables", "long_rows")),
        *((name, ctypes.c_int64) for name in ("m", "num_short", "table_width", "num_long")),
        *((name, ctypes.c_int64) for name in ("heads", "kv_heads", "d")),
        *((name, ctypes.c_int64) for name in ("shard", "num_shards")),
    ]


class _Result(ctypes.Structure):
    """`attention_result` of attention.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("out", "part", "lse")]


class _StepAttentionArgs(ctypes.Structure):
    """`step_attention_args` of attention.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("step", "qkv", "cosine", "sine", "keys", "values", "queries")),
        ("to", _Result),
    ]


def supports(heads: HeadLayout) -> bool:
    """Whether the kernels can compute heads of this layout."""
    group = heads.num_heads // heads.num_kv_heads
    return heads.head_dim % 32 == 0 and heads.head_dim <= MAX_HEAD_DIM and group <= MAX_GROUP


@dataclass(frozen=True, slots=True)
class NativeAttention:
    """Implements `attention.backend.ShardableAttention`: short rows token by token, long ones in tiles."""

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
class QueryTokens:
    """Every token of the short rows, with what it attends to."""

    tokens: npt.NDArray[np.int64]  # [num_queries]
    lengths: npt.NDArray[np.int64]  # [num_queries]
    tables: npt.NDArray[np.int64]  # [num_queries, max_blocks]

    @classmethod
    def of(cls, rows: list[RowSpan], layout: StepLayout) -> "QueryTokens":
        offsets = [(row, offset) for row in rows for offset in range(row.num_tokens)]
        width = max((layout.num_blocks(row) for row in rows), default=0)
        lengths = np.array([row.start + offset + 1 for row, offset in offsets], dtype=np.int64)
        return cls(
            tokens=np.array([row.first + offset for row, offset in offsets], dtype=np.int64),
            lengths=nums_held(lengths, layout.shard),
            tables=np.ascontiguousarray(layout.table[[row.table_row for row, _ in offsets], :width]),
        )


@dataclass(frozen=True, slots=True)
class _PreparedStep:
    """What both kinds of attention are computed from."""

    library: ctypes.CDLL
    heads: HeadLayout
    step: Step
    pointed_at: tuple[object, ...]  # by `step`, which does not keep it alive

    @classmethod
    def of(cls, library: ctypes.CDLL, heads: HeadLayout, layout: StepLayout) -> Self:
        short = QueryTokens.of([row for row in layout.rows if row.num_tokens <= _MAX_SHORT_ROW], layout)
        long = [row for row in layout.rows if row.num_tokens > _MAX_SHORT_ROW]
        tables = [layout.table[row.table_row, : layout.num_blocks(row)].copy() for row in long]
        spans = [
            _LongRow(row.first, row.num_tokens, row.start, table.ctypes.data)
            for row, table in zip(long, tables, strict=True)
        ]
        long_rows = (_LongRow * len(spans))(*spans)
        step = Step(
            layout.slots.data_ptr(),
            *(array.ctypes.data for array in (short.tokens, short.lengths, short.tables)),
            ctypes.addressof(long_rows),
            len(layout.slots),
            *short.tables.shape,
            len(long),
            heads.num_heads,
            heads.num_kv_heads,
            heads.head_dim,
            layout.shard.index,
            layout.shard.count,
        )
        return cls(library, heads, step, (layout.slots, short, long_rows, tables))

    def run(self, qkv: Tensor, rotation: Rotation, kv: LayerKV, to: _Result) -> None:
        """Rotate, write, and attend."""
        queries = torch.empty(len(qkv), self.heads.num_heads, self.heads.head_dim, dtype=torch.bfloat16)
        tensors = (qkv, rotation.cos, rotation.sin, kv.keys, kv.values, queries)
        pointers = (tensor.data_ptr() for tensor in tensors)
        self.library.l4c_step_attention(ctypes.byref(_StepAttentionArgs(ctypes.addressof(self.step), *pointers, to)))


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
