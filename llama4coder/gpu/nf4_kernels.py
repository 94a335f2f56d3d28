"""Products with NF4 weights in Triton: bytes become weights in registers, on their way to the tensor cores."""

import triton
import triton.language as tl


@triton.jit
def levels_of(packed, levels_ptr, dtype: tl.constexpr, ASM: tl.constexpr):
    """What the low and the high halves of bytes stand for, without their scales; by `nf4_levels` where there is ASM."""
    if ASM is not None and dtype == tl.bfloat16:  # a tuple takes no type that is a parameter
        low, high = tl.inline_asm_elementwise(
            ASM, "=&r,=&r,=&r,=&r,r", [packed], dtype=(tl.bfloat16, tl.bfloat16), is_pure=True, pack=4
        )
    elif ASM is not None:
        low, high = tl.inline_asm_elementwise(
            ASM, "=&r,=&r,=&r,=&r,r", [packed], dtype=(tl.float16, tl.float16), is_pure=True, pack=4
        )
    else:
        low = tl.load(levels_ptr + (packed & 15)).to(dtype)
        high = tl.load(levels_ptr + (packed >> 4)).to(dtype)
    return low, high


@triton.jit(do_not_specialize=["num_tokens", "groups_per_split"])
def nf4_product_kernel(parts_ptr, x_ptr, packed_ptr, largest_ptr, levels_ptr, num_tokens, num_rows, num_groups,
                       groups_per_split, BLOCK_M: tl.constexpr, TILE_ROWS: tl.constexpr, UNROLL: tl.constexpr,
                       STAGES: tl.constexpr, ASM: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Parts `[num_splits, num_tokens, num_rows]` float32; grid is (tiles of TILE_ROWS rows of the weight, splits).

    The weight is the left factor: its many rows fill the tensor cores where the few tokens could not. A group is 64
    columns, which share a scale; the low halves of its 32 bytes hold its first 32 columns, the high halves the others.
    Scales come after the products, one per row and group. UNROLL divides both numbers of groups.
    """
    tile_rows = tl.arange(0, TILE_ROWS)
    tokens = tl.arange(0, BLOCK_M)
    columns = tl.arange(0, 32)
    valid_tokens = (tokens < num_tokens)[None, :]
    tile = tl.program_id(0).to(tl.int64) * num_groups
    first = tl.program_id(1) * groups_per_split
    acc = tl.zeros([TILE_ROWS, BLOCK_M], dtype=tl.float32)
    for start in tl.range(first, tl.minimum(first + groups_per_split, num_groups), UNROLL, num_stages=STAGES):
        for step in tl.static_range(UNROLL):
            group = start + step
            rows = (tile + group) * TILE_ROWS + tile_rows
            packed = tl.load(packed_ptr + (rows[:, None] * 32 + columns[None, :]))
            largest = tl.load(largest_ptr + rows)
            x_places = tokens[None, :] * (num_groups * 64) + group * 64 + columns[:, None]
            x_low = tl.load(x_ptr + x_places, mask=valid_tokens, other=0.0)
            x_high = tl.load(x_ptr + x_places + 32, mask=valid_tokens, other=0.0)
            low, high = levels_of(packed, levels_ptr, x_low.dtype, ASM)
            part = tl.dot(low, x_low, input_precision=PRECISION)
            part = tl.dot(high, x_high, part, input_precision=PRECISION)
            acc += part * largest[:, None]
    rows = tl.program_id(0) * TILE_ROWS + tile_rows
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
def nf4_unpack_kernel(out_ptr, packed_ptr, largest_ptr, levels_ptr, num_rows, num_groups,
                      TILE_ROWS: tl.constexpr):  # fmt: skip
    """`[num_rows, num_groups * 64]`; one group of one tile of rows per program, on a grid of (groups, tiles)."""
    tile_rows = tl.arange(0, TILE_ROWS)
    columns = tl.arange(0, 32)[None, :]
    group = tl.program_id(0)
    stored = (tl.program_id(1).to(tl.int64) * num_groups + group) * TILE_ROWS + tile_rows
    packed = tl.load(packed_ptr + (stored[:, None] * 32 + columns))
    largest = tl.load(largest_ptr + stored)[:, None]
    low, high = levels_of(packed, levels_ptr, tl.float32, None)
    rows = tl.program_id(1) * TILE_ROWS + tile_rows[:, None]
    places = (rows.to(tl.int64) * num_groups + group) * 64 + columns
    tl.store(out_ptr + places, (low * largest).to(out_ptr.dtype.element_ty), mask=rows < num_rows)
    tl.store(out_ptr + places + 32, (high * largest).to(out_ptr.dtype.element_ty), mask=rows < num_rows)
