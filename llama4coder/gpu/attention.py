"""Paged attention on a GPU: prefill, decoding and verification in one step, in place of any block table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llama4coder.attention.batch import HeadLayout, StepLayout
from llama4coder.attention.merge import AttentionOutput
from llama4coder.gpu import tiles
from llama4coder.gpu.attention_kernels import paged_attention_kernel
from llama4coder.gpu.merge import PARTS_AT_ONCE, merge
from llama4coder.gpu.merge_kernels import merge_splits_kernel
from llama4coder.gpu.metadata import AttentionMetadata
from llama4coder.gpu.pool import Arguments, Pool
from llama4coder.gpu.rope import rotate, rotate_and_write
from llama4coder.gpu.tailed import Recent, keep_last, seal_blocks
from llama4coder.gpu.tiles import Tile, next_power_of_two, rows_at_once
from llama4coder.kv.formats.int8 import Int8KV
from llama4coder.kv.formats.tail import TailedKV
from llama4coder.kv.sizing import BLOCK_SIZE
from llama4coder.kv.tensors import DenseKV, LayerKV
from llama4coder.layers.rope import Rotation

MAX_HEAD_DIM = 256
MAX_GROUP = 128  # query heads per KV head: one tile holds at least one token of all of them
_LOG2_E = 1.4426950408889634
_ANY_NUMBER = 1 << 24  # more tokens than any step holds; constant, so that it compiles once
_NOT_RECENT: Arguments = (None, None, None, None)
_INTERPRETER_PROGRAMS = 16  # where there is no device to fill


@dataclass(frozen=True, slots=True)
class PagedAttention:
    """Implements `attention.backend.ShardableAttention` for KV of every format."""

    heads: HeadLayout

    def prepare(self, layout: StepLayout) -> "PagedStepAttention":
        """See `AttentionBackend.prepare`."""
        return self.at(AttentionMetadata.of(layout))

    def at(self, metadata: AttentionMetadata) -> "PagedStepAttention":
        """Attention of a step whose rows are already on the device: what a captured graph replays."""
        return PagedStepAttention(self.heads, metadata)

    def prepare_shard(self, layout: StepLayout) -> "PagedShardAttention":
        """See `ShardableAttention.prepare_shard`."""
        return PagedShardAttention(self.heads, AttentionMetadata.of(layout))

    def merge(self, outs: Tensor, lses: Tensor) -> AttentionOutput:
        """See `ShardableAttention.merge`."""
        return merge(outs, lses)


@dataclass(frozen=True, slots=True)
class _PreparedStep:
    """What both kinds of attention are computed from."""

    heads: HeadLayout
    metadata: AttentionMetadata

    def run(self, qkv: Tensor, rotation: Rotation, kv: LayerKV, out_dtype: torch.dtype) -> AttentionOutput:
        """Rotate, write, and attend."""
        if isinstance(kv, TailedKV):
            return self._run_tailed(qkv, rotation, kv, out_dtype)
        assert isinstance(kv, (DenseKV, Int8KV)), "KV of another format"
        queries = rotate_and_write(qkv, rotation, self.metadata.slots, kv, self.heads)
        return attend(queries, kv, self.metadata, AttentionOptions(self.heads.window, out_dtype))

    def _run_tailed(self, qkv: Tensor, rotation: Rotation, kv: TailedKV, out_dtype: torch.dtype) -> AttentionOutput:
        """What the step's tokens fill is compressed before they attend, and the tails change after that."""
        rotated = rotate(qkv, rotation, self.heads)
        recent = Recent(kv.tail, rotated.fresh)
        seal_blocks(kv, recent, self.metadata)
        result = attend(rotated.queries, kv, self.metadata, AttentionOptions(self.heads.window, out_dtype, recent))
        keep_last(recent, self.metadata)
        return result


class PagedStepAttention(_PreparedStep):
    """See `attention.backend.StepAttention`."""

    __slots__ = ()

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> Tensor:
        return self.run(qkv, rotation, kv, qkv.dtype).out.flatten(1)


class PagedShardAttention(_PreparedStep):
    """See `attention.backend.ShardAttention`."""

    __slots__ = ()

    def __call__(self, qkv: Tensor, rotation: Rotation, kv: LayerKV) -> AttentionOutput:
        return self.run(qkv, rotation, kv, torch.float32)


def supports(heads: HeadLayout) -> bool:
    """Whether the kernels can compute heads of this layout."""
    return heads.head_dim % 2 == 0 and heads.head_dim <= MAX_HEAD_DIM and _group(heads) <= MAX_GROUP


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """What differs between models, formats and uses."""

    window: int | None = None  # of `HeadLayout`
    out_dtype: torch.dtype | None = None  # None: that of the queries
    recent: Recent | None = None  # what formats with tails keep dense
    device_programs: int | None = None  # at which splits per row aim; None: what fits on the device


def attend(
    queries: Tensor,
    kv: LayerKV,
    metadata: AttentionMetadata,
    options: AttentionOptions = AttentionOptions(),
) -> AttentionOutput:
    """Causal attention of `queries` `[num_tokens, num_heads, head_dim]` to the rows' cached keys and values.

    Nothing here waits for the device.
    """
    queries = queries.contiguous()
    result = AttentionOutput(
        torch.empty_like(queries, dtype=options.out_dtype),
        torch.empty(queries.shape[:2], dtype=torch.float32, device=queries.device),
    )
    if len(queries):
        programs = options.device_programs or _device_programs(queries.device)
        _Launch(queries, Pool.of(kv), metadata, options, result).run(programs)
    return result


class _Launch:
    """One call of `attend`; short rows are split over their keys, long rows over their queries.

    Each row is computed by exactly one of the two launches; the programs of the other see its size and end at once.
    """

    def __init__(
        self,
        queries: Tensor,
        pool: Pool,
        metadata: AttentionMetadata,
        options: AttentionOptions,
        result: AttentionOutput,
    ) -> None:
        _, num_heads, self._head_dim = queries.shape
        self._queries, self._pool, self._recent, self._window = queries, pool, options.recent, options.window
        self._metadata, self._result = metadata, result
        self._num_kv_heads = pool.keys.shape[2]
        self._group = num_heads // self._num_kv_heads

    def run(self, device_programs: int) -> None:
        """Splits per row aim at so many programs."""
        # In powers of two: each bound is compiled for itself.
        max_query_tokens = next_power_of_two(self._metadata.max_query_tokens)
        if max_query_tokens * self._group <= tiles.MAX_ALL_SHORT_TILE:
            self._attend_short(max_query_tokens, device_programs)
            return
        max_short_tokens = tiles.MAX_SHORT_TILE // next_power_of_two(self._group)
        if max_short_tokens:
            self._attend_short(max_short_tokens, device_programs)
        self._attend_long(max_short_tokens + 1)

    def _attend_short(self, max_tokens: int, device_programs: int) -> None:
        tile = tiles.short_tile(max_tokens * self._group, self._head_dim, self._queries.itemsize)
        num_rows, num_heads = len(self._metadata.lengths), self._queries.shape[1]
        num_splits = tiles.num_splits(num_rows * self._num_kv_heads, self._metadata.max_length, device_programs)
        if num_splits == 1:
            self._attend(tile, self._result, (num_rows, self._num_kv_heads, 1), range(1, max_tokens + 1))
            return
        size = (num_splits, num_rows * max_tokens, num_heads)
        out = torch.empty(*size, self._head_dim, dtype=torch.float32, device=self._queries.device)
        parts = AttentionOutput(out, torch.empty(size, dtype=torch.float32, device=self._queries.device))
        self._attend(tile, parts, (num_rows, self._num_kv_heads, num_splits), range(1, max_tokens + 1))
        merge_splits_kernel[num_rows, max_tokens, num_heads](
            self._result.out,
            self._result.lse,
            parts.out,
            parts.lse,
            self._metadata.query_starts,
            self._metadata.lengths,
            num_splits,
            num_rows * max_tokens * num_heads,
            self._metadata.shard.index,
            HEAD_DIM=self._head_dim,
            BLOCK_D=next_power_of_two(self._head_dim),
            BLOCK_P=PARTS_AT_ONCE,
            BLOCK_N=tile.block_n,
            KV_BLOCK=BLOCK_SIZE,
            NUM_SHARDS=self._metadata.shard.count,
            MAX_TOKENS=max_tokens,
            MIN_SPLIT_TOKENS=tiles.MIN_SPLIT_TOKENS,
            num_warps=2,
        )

    def _attend_long(self, min_tokens: int) -> None:
        tile = tiles.long_tile(self._group, self._head_dim, self._queries.itemsize)
        num_tiles = len(self._queries) // (tile.block_m // self._group) + len(self._metadata.lengths)
        self._attend(tile, self._result, (num_tiles, self._num_kv_heads, 1), range(min_tokens, _ANY_NUMBER), tiled=True)

    def _attend(
        self, tile: Tile, result: AttentionOutput, grid: tuple[int, int, int], tokens: range, tiled: bool = False
    ) -> None:
        num_rows, num_splits, recent = len(self._metadata.lengths), grid[2], self._recent
        paged_attention_kernel[grid](
            result.out,
            result.lse,
            self._queries,
            *self._pool.arguments,
            *(_NOT_RECENT if recent is None else recent.arguments),
            self._metadata.query_starts,
            self._metadata.lengths,
            self._metadata.tables,
            self._metadata.new_from,
            self._metadata.table_rows,
            self._metadata.tables.stride(0),
            self._pool.keys.stride(0),
            self._pool.keys.stride(1),
            num_rows,
            num_splits,
            num_rows * tokens[-1],
            self._metadata.shard.index,
            self._head_dim**-0.5 * _LOG2_E,
            GROUP=self._group,
            HEAD_DIM=self._head_dim,
            BLOCK_D=max(16, next_power_of_two(self._head_dim)),
            BLOCK_M=tile.block_m,
            BLOCK_N=tile.block_n,
            BLOCK_ROWS=rows_at_once(num_rows) if tiled else 1,
            KV_BLOCK=BLOCK_SIZE,
            FORMAT=self._pool.format,
            TAIL_TOKENS=0 if recent is None else recent.tail_tokens,
            NUM_SHARDS=self._metadata.shard.count,
            MIN_TOKENS=tokens[0],
            MAX_TOKENS=tokens[-1],
            MIN_SPLIT_TOKENS=tiles.MIN_SPLIT_TOKENS,
            TILED=tiled,
            SPLIT=num_splits > 1,
            WINDOW=self._window or 0,
            PRECISION="ieee" if self._queries.dtype == torch.float32 else "tf32",
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
        )


def _group(heads: HeadLayout) -> int:
    return heads.num_heads // heads.num_kv_heads


def _device_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETER_PROGRAMS
    properties = torch.cuda.get_device_properties(device)
    return tiles.PROGRAMS_PER_MULTIPROCESSOR * properties.multi_processor_count
