"""Rotation of queries and keys, and the write of keys and values to their slots, in one pass over the projections."""

import triton
import triton.language as tl

from llama4coder.gpu.format_kernels import INT8, inverse_of, largest_of, to_int8


@triton.jit
def _write(kept_ptr, scales_ptr, low, high, slot, heads, dims, valid, NUM_KV_HEADS: tl.constexpr, HALF: tl.constexpr,
           FORMAT: tl.constexpr):  # fmt: skip
    """Store the `valid` ones of a token's heads at its slot."""
    place = slot * NUM_KV_HEADS + heads
    if FORMAT == INT8:
        scale = largest_of(low.to(tl.float32), high.to(tl.float32)) / 127.0
        tl.store(scales_ptr + place, scale, mask=tl.max(valid.to(tl.int32), axis=1) > 0)
        inverse = inverse_of(scale)[:, None]
        low, high = to_int8(low.to(tl.float32), inverse), to_int8(high.to(tl.float32), inverse)
    kept = kept_ptr + place[:, None] * (2 * HALF) + dims[None, :]
    tl.store(kept, low, mask=valid)
    tl.store(kept + HALF, high, mask=valid)


@triton.jit
def rope_and_write_kernel(
    queries_ptr,  # [num_tokens, NUM_HEADS, 2 * HALF]
    keys_ptr,
    values_ptr,
    key_scales_ptr,
    value_scales_ptr,
    qkv_ptr,  # [num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, 2 * HALF]
    cos_ptr,  # [num_tokens, 2 * HALF]
    sin_ptr,
    slots_ptr,  # [num_tokens]; negative: of a token that pads the batch; None: a token's place in the batch
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    FORMAT: tl.constexpr,
):
    """Grid is (num_tokens, groups of BLOCK_HEADS heads of all three kinds)."""
    token = tl.program_id(0).to(tl.int64)
    heads = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    dims = tl.arange(0, BLOCK_HALF)
    valid_dims = dims < HALF
    cos = tl.load(cos_ptr + token * 2 * HALF + dims, mask=valid_dims, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + token * 2 * HALF + dims, mask=valid_dims, other=0.0).to(tl.float32)
    cos_high = tl.load(cos_ptr + token * 2 * HALF + HALF + dims, mask=valid_dims, other=0.0).to(tl.float32)
    sin_high = tl.load(sin_ptr + token * 2 * HALF + HALF + dims, mask=valid_dims, other=0.0).to(tl.float32)

    NUM_ROTATED: tl.constexpr = NUM_HEADS + NUM_KV_HEADS
    valid = (heads < NUM_ROTATED + NUM_KV_HEADS)[:, None] & valid_dims[None, :]
    row = qkv_ptr + (token * (NUM_ROTATED + NUM_KV_HEADS) + heads[:, None]) * (2 * HALF) + dims[None, :]
    low, high = tl.load(row, mask=valid, other=0.0), tl.load(row + HALF, mask=valid, other=0.0)
    rotates = (heads < NUM_ROTATED)[:, None]
    out_low = tl.where(rotates, low.to(tl.float32) * cos[None, :] - high.to(tl.float32) * sin[None, :], low)
    out_high = tl.where(rotates, high.to(tl.float32) * cos_high[None, :] + low.to(tl.float32) * sin_high[None, :], high)
    out_low, out_high = out_low.to(low.dtype), out_high.to(low.dtype)

    is_query = (heads < NUM_HEADS)[:, None] & valid
    query = queries_ptr + (token * NUM_HEADS + heads[:, None]) * (2 * HALF) + dims[None, :]
    tl.store(query, out_low, mask=is_query)
    tl.store(query + HALF, out_high, mask=is_query)
    slot = token
    if slots_ptr is not None:
        slot = tl.load(slots_ptr + token)
    is_key = ((heads >= NUM_HEADS) & (heads < NUM_ROTATED))[:, None] & valid & (slot >= 0)
    _write(keys_ptr, key_scales_ptr, out_low, out_high, slot, heads - NUM_HEADS, dims, is_key,
           NUM_KV_HEADS, HALF, FORMAT)  # fmt: skip
    is_value = (heads >= NUM_ROTATED)[:, None] & valid & (slot >= 0)
    _write(values_ptr, value_scales_ptr, out_low, out_high, slot, heads - NUM_ROTATED, dims, is_value,
           NUM_KV_HEADS, HALF, FORMAT)  # fmt: skip
