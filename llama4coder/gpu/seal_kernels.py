"""Compressing the blocks that a step makes full, in Triton: see `kv.formats.tail`."""

import triton
import triton.language as tl

from llama4coder.gpu.attention_kernels import find_tile
from llama4coder.gpu.format_kernels import INT4, int4_scale, inverse_of, largest_of, to_e4m3, to_int4
from llama4coder.gpu.tail_kernels import load_recent


@triton.jit
def _load_halves(fresh_ptr, tail_ptr, positions, dims, head, num_kv_heads, first_query, start, length, new_from,
                 table_row, HALF: tl.constexpr, TAIL_TOKENS: tl.constexpr):  # fmt: skip
    """The first and the second half of a head's channels, in float32."""
    low = load_recent(fresh_ptr, tail_ptr, positions, dims, head, num_kv_heads, first_query, start, length, new_from,
                      table_row, 2 * HALF, HALF, TAIL_TOKENS)  # fmt: skip
    high = load_recent(fresh_ptr + HALF, tail_ptr + HALF, positions, dims, head, num_kv_heads, first_query, start,
                       length, new_from, table_row, 2 * HALF, HALF, TAIL_TOKENS)  # fmt: skip
    return low.to(tl.float32), high.to(tl.float32)


@triton.jit
def _seal_fp8(kept_ptr, scales_ptr, low, high, place, head, num_kv_heads, stored, HALF: tl.constexpr,
              KV_BLOCK: tl.constexpr, BLOCK_HALF: tl.constexpr):  # fmt: skip
    """One scale for all of a head."""
    scale = tl.max(largest_of(low, high), axis=0) / 448.0
    tokens = place * KV_BLOCK + tl.arange(0, KV_BLOCK)
    places = (tokens * num_kv_heads + head)[:, None] * (2 * HALF) + tl.arange(0, BLOCK_HALF)[None, :]
    inverse = inverse_of(scale)
    tl.store(kept_ptr + places, to_e4m3(tl.clamp(low * inverse, -448.0, 448.0)), mask=stored)
    tl.store(kept_ptr + places + HALF, to_e4m3(tl.clamp(high * inverse, -448.0, 448.0)), mask=stored)
    tl.store(scales_ptr + place * num_kv_heads + head, scale)


@triton.jit
def _seal_int4_keys(keys_ptr, scales_ptr, lows_ptr, low, high, place, head, num_kv_heads, stored, HALF: tl.constexpr,
                    KV_BLOCK: tl.constexpr, BLOCK_HALF: tl.constexpr):  # fmt: skip
    """A scale and a low for each channel."""
    dims = tl.arange(0, BLOCK_HALF)
    lowest, lowest_high = tl.min(low, axis=0).to(tl.float16), tl.min(high, axis=0).to(tl.float16)
    scale, scale_high = int4_scale(lowest, tl.max(low, axis=0)), int4_scale(lowest_high, tl.max(high, axis=0))
    steps = to_int4(low, lowest[None, :], scale[None, :])
    steps = steps | (to_int4(high, lowest_high[None, :], scale_high[None, :]) << 4)
    tokens = place * KV_BLOCK + tl.arange(0, KV_BLOCK)
    tl.store(keys_ptr + (tokens * num_kv_heads + head)[:, None] * HALF + dims[None, :], steps, mask=stored)
    channels = (place * num_kv_heads + head) * (2 * HALF) + dims
    tl.store(scales_ptr + channels, scale, mask=dims < HALF)
    tl.store(scales_ptr + channels + HALF, scale_high, mask=dims < HALF)
    tl.store(lows_ptr + channels, lowest, mask=dims < HALF)
    tl.store(lows_ptr + channels + HALF, lowest_high, mask=dims < HALF)


@triton.jit
def _seal_int4_values(values_ptr, scales_ptr, lows_ptr, low, high, place, head, num_kv_heads, stored,
                      HALF: tl.constexpr, KV_BLOCK: tl.constexpr, BLOCK_HALF: tl.constexpr):  # fmt: skip
    """A scale and a low for each token."""
    dims = tl.arange(0, BLOCK_HALF)
    lowest = tl.min(tl.where(stored, tl.minimum(low, high), float("inf")), axis=1).to(tl.float16)
    scale = int4_scale(lowest, tl.max(tl.where(stored, tl.maximum(low, high), float("-inf")), axis=1))
    steps = to_int4(low, lowest[:, None], scale[:, None]) | (to_int4(high, lowest[:, None], scale[:, None]) << 4)
    tokens = (place * KV_BLOCK + tl.arange(0, KV_BLOCK)) * num_kv_heads + head
    tl.store(values_ptr + tokens[:, None] * HALF + dims[None, :], steps, mask=stored)
    tl.store(scales_ptr + tokens, scale)
    tl.store(lows_ptr + tokens, lowest)


@triton.jit(do_not_specialize=["table_stride", "num_rows", "shard"])
def seal_blocks_kernel(keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr, key_lows_ptr, value_lows_ptr,
                       fresh_keys_ptr, fresh_values_ptr, tail_keys_ptr, tail_values_ptr, starts_ptr, lengths_ptr,
                       tables_ptr, new_from_ptr, table_rows_ptr, table_stride, num_rows, shard, HALF: tl.constexpr,
                       BLOCK_HALF: tl.constexpr, BLOCK_ROWS: tl.constexpr, KV_BLOCK: tl.constexpr,
                       FORMAT: tl.constexpr, TAIL_TOKENS: tl.constexpr, NUM_SHARDS: tl.constexpr):  # fmt: skip
    """Each program looks whether there is one more block; grid is (num_tokens // KV_BLOCK + num_rows, KV heads)."""
    head, num_kv_heads = tl.program_id(1), tl.num_programs(1)
    row, index = find_tile(starts_ptr, tl.program_id(0), num_rows, KV_BLOCK, BLOCK_ROWS)
    length, new_from = tl.load(lengths_ptr + row), tl.load(new_from_ptr + row)
    block = new_from // KV_BLOCK + index
    if (block >= length // KV_BLOCK) | (block % NUM_SHARDS != shard):
        return
    first_query, table_row = tl.load(starts_ptr + row), tl.load(table_rows_ptr + row)
    start = length - (tl.load(starts_ptr + row + 1) - first_query)
    place = tl.load(tables_ptr + row.to(tl.int64) * table_stride + block // NUM_SHARDS).to(tl.int64)
    positions = block * KV_BLOCK + tl.arange(0, KV_BLOCK)
    dims = tl.arange(0, BLOCK_HALF)
    key, key_high = _load_halves(fresh_keys_ptr, tail_keys_ptr, positions, dims, head, num_kv_heads, first_query,
                                 start, length, new_from, table_row, HALF, TAIL_TOKENS)  # fmt: skip
    value, value_high = _load_halves(fresh_values_ptr, tail_values_ptr, positions, dims, head, num_kv_heads,
                                     first_query, start, length, new_from, table_row, HALF, TAIL_TOKENS)  # fmt: skip
    stored = (dims < HALF)[None, :]
    if FORMAT == INT4:
        _seal_int4_keys(keys_ptr, key_scales_ptr, key_lows_ptr, key, key_high, place, head, num_kv_heads, stored,
                        HALF, KV_BLOCK, BLOCK_HALF)  # fmt: skip
        _seal_int4_values(values_ptr, value_scales_ptr, value_lows_ptr, value, value_high, place, head, num_kv_heads,
                          stored, HALF, KV_BLOCK, BLOCK_HALF)  # fmt: skip
    else:
        _seal_fp8(keys_ptr, key_scales_ptr, key, key_high, place, head, num_kv_heads, stored, HALF, KV_BLOCK,
                  BLOCK_HALF)  # fmt: skip
        _seal_fp8(values_ptr, value_scales_ptr, value, value_high, place, head, num_kv_heads, stored, HALF, KV_BLOCK,
                  BLOCK_HALF)  # fmt: skip
