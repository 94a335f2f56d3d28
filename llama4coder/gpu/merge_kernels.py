"""Merging partial attention in Triton: of splits within a device, and of shards across devices."""

import triton
import triton.language as tl

from llama4coder.gpu.attention_kernels import num_held, split_size


@triton.jit
def _merge(out_ptr, lse_ptr, parts_ptr, parts_lse_ptr, num_parts, part_stride, place, out_place,
           HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_P: tl.constexpr):  # fmt: skip
    """Weigh parts of one head of one token by exp(lse); `place` counts heads within a part, `part_stride` in all."""
    parts = tl.arange(0, BLOCK_P)
    dims = tl.arange(0, BLOCK_D)
    acc = tl.zeros([BLOCK_D], dtype=tl.float32)
    total = 0.0
    best = float("-inf")
    for first in range(0, num_parts, BLOCK_P):
        used = first + parts < num_parts
        places = (first + parts).to(tl.int64) * part_stride + place
        lse = tl.load(parts_lse_ptr + places, mask=used, other=float("-inf"))
        new_best = tl.maximum(best, tl.max(lse, axis=0))
        finite_best = tl.where(new_best == float("-inf"), 0.0, new_best)
        weights = tl.exp(lse - finite_best)
        decay = tl.exp(best - finite_best)
        # A part that saw nothing may hold anything, NaN included.
        read = (lse > float("-inf"))[:, None] & (dims < HEAD_DIM)[None, :]
        part = tl.load(parts_ptr + places[:, None] * HEAD_DIM + dims[None, :], mask=read, other=0.0)
        acc = acc * decay + tl.sum(part.to(tl.float32) * weights[:, None], axis=0)
        total = total * decay + tl.sum(weights, axis=0)
        best = new_best
    saw_any = total > 0
    divisor = tl.where(saw_any, total, 1.0)
    tl.store(lse_ptr + out_place, tl.where(saw_any, best + tl.log(divisor), float("-inf")))
    tl.store(out_ptr + out_place * HEAD_DIM + dims, (acc / divisor).to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)


@triton.jit(do_not_specialize=["num_parts", "part_stride"])
def merge_parts_kernel(
    out_ptr,  # [num_tokens, num_heads, HEAD_DIM]
    lse_ptr,  # [num_tokens, num_heads]
    parts_ptr,  # [num_parts, num_tokens, num_heads, HEAD_DIM]
    parts_lse_ptr,  # [num_parts, num_tokens, num_heads]
    num_parts,
    part_stride,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Every part holds every token; grid is (num_tokens, num_heads)."""
    place = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    _merge(out_ptr, lse_ptr, parts_ptr, parts_lse_ptr, num_parts, part_stride, place, place,
           HEAD_DIM, BLOCK_D, BLOCK_P)  # fmt: skip


@triton.jit(do_not_specialize=["num_splits", "part_stride", "shard"])
def merge_splits_kernel(
    out_ptr,
    lse_ptr,
    parts_ptr,
    parts_lse_ptr,
    starts_ptr,
    lengths_ptr,
    num_splits,
    part_stride,
    shard,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
    KV_BLOCK: tl.constexpr,
    NUM_SHARDS: tl.constexpr,
    MAX_TOKENS: tl.constexpr,
    MIN_SPLIT_TOKENS: tl.constexpr,
):
    """The splits of rows of up to MAX_TOKENS query tokens; grid is (num_rows, MAX_TOKENS, num_heads)."""
    row, token, head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first_query = tl.load(starts_ptr + row)
    num_tokens = tl.load(starts_ptr + row + 1) - first_query
    if (token >= num_tokens) | (num_tokens > MAX_TOKENS):
        return
    num_keys = num_held(tl.load(lengths_ptr + row), shard, NUM_SHARDS, KV_BLOCK)
    num_used = tl.cdiv(num_keys, split_size(num_keys, num_splits, BLOCK_N, MIN_SPLIT_TOKENS))
    num_heads = tl.num_programs(2)
    place = (row * MAX_TOKENS + token).to(tl.int64) * num_heads + head
    out_place = (first_query + token).to(tl.int64) * num_heads + head
    _merge(out_ptr, lse_ptr, parts_ptr, parts_lse_ptr, num_used, part_stride, place, out_place,
           HEAD_DIM, BLOCK_D, BLOCK_P)  # fmt: skip
