"""Paged attention in place: no gathering of blocks for the rows of a decode step."""

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, RowSpan, StepLayout
from llama4coder.kv.sizing import num_blocks_for
from llama4coder.kv.tensors import LayerKV
from llama4coder.layers.rope import Rotation

MAX_GROUP = 16  # query heads per KV head; see vector.h
MAX_HEAD_DIM = 256
_MAX_SHORT_ROW = 8  # tokens; longer rows share each packing of their keys among many of them


class _RopeArgs(ctypes.Structure):
    """`rope_args` of elementwise.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("qkv", "cosine", "sine", "slots", "queries", "keys", "values")),
        *((name, ctypes.c_int64) for name in ("m", "heads", "kv_heads", "d")),
    ]


class _AttentionArgs(ctypes.Structure):
    """`attention_args` of decode_attention.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("queries", "keys", "values", "out", "tokens", "lengths", "tables")),
        *((name, ctypes.c_int64) for name in ("rows", "table_width", "heads", "kv_heads", "d")),
    ]


class _PrefillArgs(ctypes.Structure):
    """`prefill_args` of prefill_attention.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("queries", "keys", "values", "out", "table")),
        *((name, ctypes.c_int64) for name in ("num_tokens", "start", "heads", "kv_heads", "d")),
    ]


def supports(heads: HeadLayout) -> bool:
    """Whether the kernels can compute heads of this layout."""
    group = heads.num_heads // heads.num_kv_heads
    return heads.head_dim % 32 == 0 and heads.head_dim <= MAX_HEAD_DIM and group <= MAX_GROUP


@dataclass(frozen=True, slots=True)
class NativeAttention:
    """Implements `attention.backend.AttentionBackend`: short rows token by token, long ones in tiles."""

    library: ctypes.CDLL
    heads: HeadLayout

    def prepare(self, layout: StepLayout) -> "NativeStepAttention":
        """See `AttentionBackend.prepare`."""
        short = [row for row in layout.rows if row.num_tokens <= _MAX_SHORT_ROW]
        long = [row for row in layout.rows if row.num_tokens > _MAX_SHORT_ROW]
        return NativeStepAttention(
            self.library,
            self.heads,
            layout.slots,
            QueryTokens.of(short, layout) if short else None,
            tuple(LongRow.of(row, layout) for row in long),
        )


@dataclass(frozen=True, slots=True)
class QueryTokens:
    """Every token of the short rows, with what it attends to."""

    tokens: npt.NDArray[np.int64]  # [num_queries]
    lengths: npt.NDArray[np.int64]  # [num_queries]
    tables: npt.NDArray[np.int64]  # [num_queries, max_blocks]

    @classmethod
    def of(cls, rows: list[RowSpan], layout: StepLayout) -> "QueryTokens":
        offsets = [(row, offset) for row in rows for offset in range(row.num_tokens)]
        width = num_blocks_for(max(row.length for row in rows))
        return cls(
            tokens=np.array([row.first + offset for row, offset in offsets], dtype=np.int64),
            lengths=np.array([row.start + offset + 1 for row, offset in offsets], dtype=np.int64),
            tables=np.ascontiguousarray(layout.table[[row.table_row for row, _ in offsets], :width]),
        )


@dataclass(frozen=True, slots=True)
class LongRow:
    """Many tokens of one sequence."""

    tokens: slice
    start: int
    table: npt.NDArray[np.int64]  # [num_blocks]

    @classmethod
    def of(cls, row: RowSpan, layout: StepLayout) -> "LongRow":
        table = layout.table[row.table_row, : num_blocks_for(row.length)].copy()
        return cls(slice(row.first, row.first + row.num_tokens), row.start, table)


@dataclass(frozen=True, slots=True)
class NativeStepAttention:
    """See `attention.backend.StepAttention`."""

    library: ctypes.CDLL
    heads: HeadLayout
    slots: Tensor
    short: QueryTokens | None
    long: tuple[LongRow, ...]

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        queries = torch.empty(len(qkv), self.heads.num_heads, self.heads.head_dim, dtype=torch.bfloat16)
        self._rotate_and_write(qkv, rotation, kv, queries)
        out = torch.empty_like(queries)
        if self.short is not None:
            self._attend(queries, kv, out, self.short)
        for row in self.long:
            self._prefill(queries, kv, out, row)
        return out.flatten(1)

    def _rotate_and_write(self, qkv: Tensor, rotation: Rotation, kv: LayerKV, queries: Tensor) -> None:
        tensors = (qkv, rotation.cos, rotation.sin, self.slots, queries, kv.keys, kv.values)
        args = _RopeArgs(
            *(tensor.data_ptr() for tensor in tensors),
            len(qkv),
            self.heads.num_heads,
            self.heads.num_kv_heads,
            self.heads.head_dim,
        )
        self.library.l4c_rope_and_write(ctypes.byref(args))

    def _attend(self, queries: Tensor, kv: LayerKV, out: Tensor, short: QueryTokens) -> None:
        args = _AttentionArgs(
            *(tensor.data_ptr() for tensor in (queries, kv.keys, kv.values, out)),
            *(array.ctypes.data for array in (short.tokens, short.lengths, short.tables)),
            *short.tables.shape,
            self.heads.num_heads,
            self.heads.num_kv_heads,
            self.heads.head_dim,
        )
        self.library.l4c_attention(ctypes.byref(args))

    def _prefill(self, queries: Tensor, kv: LayerKV, out: Tensor, row: LongRow) -> None:
        queries, out = queries[row.tokens], out[row.tokens]
        args = _PrefillArgs(
            *(tensor.data_ptr() for tensor in (queries, kv.keys, kv.values, out)),
            row.table.ctypes.data,
            len(queries),
            row.start,
            self.heads.num_heads,
            self.heads.num_kv_heads,
            self.heads.head_dim,
        )
        self.library.l4c_prefill_attention(ctypes.byref(args))
