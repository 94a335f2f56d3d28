"""Tiles of keys and values out of blocks of few bits, in Triton; a tile begins where a block begins."""

import triton
import triton.language as tl

from llama4coder.gpu.format_kernels import FP8, INT8, from_e4m3, from_int4


@triton.jit
def widened(codes, dtype: tl.constexpr, FORMAT: tl.constexpr):
    """What was loaded, as the products take it; scales come later."""
    numbers = codes
    if FORMAT == INT8:
        numbers = codes.to(dtype)
    elif FORMAT >= FP8:
        numbers = from_e4m3(codes, dtype, FORMAT)
    return numbers


@triton.jit
def load_scales(scales_ptr, blocks, positions, last, head, FORMAT: tl.constexpr, KV_BLOCK: tl.constexpr):
    """Of int8 and fp8, for each token of a tile; 0 where there is none."""
    places = blocks.to(tl.int64)
    if FORMAT == INT8:
        places = places * KV_BLOCK + positions % KV_BLOCK
    return tl.load(scales_ptr + places * tl.num_programs(1) + head, mask=positions < last, other=0.0)


@triton.jit
def _load_steps(packed_ptr, places, dims, stored, HALF: tl.constexpr):
    """Of each channel, of which two share a byte."""
    packed = tl.load(packed_ptr + places + dims % HALF, mask=stored, other=0)
    return (packed >> tl.where(dims < HALF, 0, 4).to(tl.uint8)) & 15


@triton.jit
def load_int4_keys(keys_ptr, scales_ptr, lows_ptr, table_ptr, start, last, head, block_stride, token_stride,
                   dtype: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
                   KV_BLOCK: tl.constexpr):  # fmt: skip
    """`[BLOCK_N, BLOCK_D]`: each channel of a block has its scale, which is loaded once for all the block's tokens."""
    dims = tl.arange(0, BLOCK_D)
    columns = start // KV_BLOCK + tl.arange(0, BLOCK_N // KV_BLOCK)
    is_used = columns * KV_BLOCK < last
    blocks = tl.load(table_ptr + columns, mask=is_used, other=0).to(tl.int64)
    stored = is_used[:, None] & (dims < HEAD_DIM)[None, :]
    channels = (blocks * tl.num_programs(1) + head)[:, None] * HEAD_DIM + dims[None, :]
    scales = tl.load(scales_ptr + channels, mask=stored, other=0.0)[:, None, :]
    lows = tl.load(lows_ptr + channels, mask=stored, other=0.0)[:, None, :]
    tokens = tl.arange(0, KV_BLOCK)
    places = blocks[:, None, None] * block_stride + tokens[None, :, None] * token_stride
    steps = _load_steps(keys_ptr, places, dims[None, None, :], stored[:, None, :], HEAD_DIM // 2)
    return tl.reshape(from_int4(steps, lows, scales, dtype), [BLOCK_N, BLOCK_D])


@triton.jit
def load_int4_values(values_ptr, scales_ptr, lows_ptr, blocks, positions, last, head, block_stride, token_stride,
                     dtype: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
                     KV_BLOCK: tl.constexpr):  # fmt: skip
    """`[BLOCK_N, BLOCK_D]`: each token has its scale."""
    dims = tl.arange(0, BLOCK_D)
    is_used = positions < last
    tokens = (blocks.to(tl.int64) * KV_BLOCK + positions % KV_BLOCK) * tl.num_programs(1) + head
    scales = tl.load(scales_ptr + tokens, mask=is_used, other=0.0)[:, None]
    lows = tl.load(lows_ptr + tokens, mask=is_used, other=0.0)[:, None]
    places = blocks.to(tl.int64) * block_stride + (positions % KV_BLOCK) * token_stride
    stored = is_used[:, None] & (dims < HEAD_DIM)[None, :]
    steps = _load_steps(values_ptr, places[:, None], dims[None, :], stored, HEAD_DIM // 2)
    return from_int4(steps, lows, scales, dtype)
