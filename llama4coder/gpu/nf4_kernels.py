"""Products with NF4 weights in Triton: bytes become weights in registers, on their way to the tensor cores."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_tokens", "groups_per_split"])
def nf4_product_kernel(parts_ptr, x_ptr, packed_ptr, largest_ptr, code_ptr, num_tokens, num_rows, num_groups,
                       groups_per_split, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                       UNROLL: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Parts `[num_splits, num_tokens, num_rows]` float32; grid is (blocks of BLOCK_N rows of the weight, splits).

    The weight is the left factor: its many rows fill the tensor cores where the few tokens could not. A group is 64
    columns, which share a scale; the low halves of its 32 bytes hold its first 32 columns, the high halves the others.
    """
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    tokens = tl.arange(0, BLOCK_M)
    columns = tl.arange(0, 32)
    row_groups = tl.minimum(rows, num_rows - 1).to(tl.int64) * num_groups
    valid_tokens = (tokens < num_tokens)[None, :]
    first = tl.program_id(1) * groups_per_split
    acc = tl.zeros([BLOCK_N, BLOCK_M], dtype=tl.float32)
    for start in range(first, tl.minimum(first + groups_per_split, num_groups), UNROLL):
        for step in tl.static_range(UNROLL):
            group = start + step
            inside = group < num_groups
            packed = tl.load(packed_ptr + (row_groups + group)[:, None] * 32 + columns[None, :], mask=inside, other=0)
            largest = tl.load(largest_ptr + row_groups + group, mask=inside, other=0.0)[:, None]
            x_places = tokens[None, :] * (num_groups * 64) + group * 64 + columns[:, None]
            x_low = tl.load(x_ptr + x_places, mask=valid_tokens & inside, other=0.0)
            x_high = tl.load(x_ptr + x_places + 32, mask=valid_tokens & inside, other=0.0)
            low = (tl.load(code_ptr + (packed & 15)).to(tl.float32) * largest).to(x_low.dtype)
            high = (tl.load(code_ptr + (packed >> 4)).to(tl.float32) * largest).to(x_low.dtype)
            acc = tl.dot(low, x_low, acc, input_precision=PRECISION)
            acc = tl.dot(high, x_high, acc, input_precision=PRECISION)
    places = (tl.program_id(1) * num_tokens + tokens[None, :]).to(tl.int64) * num_rows + rows[:, None]
    tl.store(parts_ptr + places, acc, mask=valid_tokens & (rows < num_rows)[:, None])


@triton.jit(do_not_specialize=["size"])
def sum_parts_kernel(out_ptr, parts_ptr, bias_ptr, residual_ptr, size, num_rows, NUM_PARTS: tl.constexpr,
                     BLOCK: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr):  # fmt: skip
    """Add the parts of a product `[num_tokens, num_rows]`, always in the same order, then bias and residual."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = places < size
    total = tl.load(parts_ptr + places, mask=valid, other=0.0)
    for part in tl.static_range(1, NUM_PARTS):
        total += tl.load(parts_ptr + part * size + places, mask=valid, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias_ptr + places % num_rows, mask=valid, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        total += tl.load(residual_ptr + places, mask=valid, other=0.0).to(tl.float32)
    tl.store(out_ptr + places, total.to(out_ptr.dtype.element_ty), mask=valid)


@triton.jit
def nf4_unpack_kernel(out_ptr, packed_ptr, largest_ptr, code_ptr, num_groups, BLOCK: tl.constexpr):
    """Groups of 64 weights `[num_groups, 64]` from their bytes; BLOCK groups per program."""
    groups = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    columns = tl.arange(0, 32)[None, :]
    valid = groups < num_groups
    packed = tl.load(packed_ptr + groups * 32 + columns, mask=valid, other=0)
    largest = tl.load(largest_ptr + groups, mask=valid, other=0.0)
    low = tl.load(code_ptr + (packed & 15)).to(tl.float32) * largest
    high = tl.load(code_ptr + (packed >> 4)).to(tl.float32) * largest
    tl.store(out_ptr + groups * 64 + columns, low.to(out_ptr.dtype.element_ty), mask=valid)
    tl.store(out_ptr + groups * 64 + 32 + columns, high.to(out_ptr.dtype.element_ty), mask=valid)
