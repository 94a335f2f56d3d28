"""The last tokens of each sequence, dense, in Triton: in its tail those before the step, fresh those of the step.

See `kv.formats.tail`. Tails are `[max_sequences, TAIL_TOKENS, num_kv_heads, HEAD_DIM]`, fresh tokens
`[num_tokens, num_kv_heads, HEAD_DIM]`.
"""

import triton
import triton.language as tl


@triton.jit
def load_recent(fresh_ptr, tail_ptr, positions, dims, head, num_kv_heads, first_query, start, length, new_from,
                table_row, HEAD_DIM: tl.constexpr, END_DIM: tl.constexpr, TAIL_TOKENS: tl.constexpr):  # fmt: skip
    """One head of a sequence's last tokens at `positions` up to `length`, of which the step's begin at `start`.

    Those before `new_from` come from the tail, even where the step computes them again; what there is none of is zero.
    """
    is_fresh = positions >= new_from
    inside = (dims < END_DIM)[None, :]
    tokens = (first_query + positions - start).to(tl.int64)
    places = (tokens * num_kv_heads + head)[:, None] * HEAD_DIM + dims[None, :]
    fresh = tl.load(fresh_ptr + places, mask=(is_fresh & (positions < length))[:, None] & inside, other=0.0)
    kept = table_row.to(tl.int64) * TAIL_TOKENS + positions % TAIL_TOKENS
    places = (kept * num_kv_heads + head)[:, None] * HEAD_DIM + dims[None, :]
    before = tl.load(tail_ptr + places, mask=(~is_fresh)[:, None] & inside, other=0.0)
    return tl.where(is_fresh[:, None], fresh, before)


@triton.jit
def keep_last_kernel(tail_keys_ptr, tail_values_ptr, fresh_keys_ptr, fresh_values_ptr, starts_ptr, lengths_ptr,
                     new_from_ptr, table_rows_ptr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                     TAIL_TOKENS: tl.constexpr):  # fmt: skip
    """Put the step's new tokens, of long rows the last, into the tails; grid is (num_rows, up to TAIL_TOKENS)."""
    row = tl.program_id(0)
    position = tl.load(lengths_ptr + row) - 1 - tl.program_id(1)
    if position < tl.load(new_from_ptr + row):
        return
    token = (tl.load(starts_ptr + row + 1) - 1 - tl.program_id(1)).to(tl.int64)
    place = tl.load(table_rows_ptr + row).to(tl.int64) * TAIL_TOKENS + position % TAIL_TOKENS
    columns = tl.arange(0, BLOCK)
    valid = columns < WIDTH
    key = tl.load(fresh_keys_ptr + token * WIDTH + columns, mask=valid)
    tl.store(tail_keys_ptr + place * WIDTH + columns, key, mask=valid)
    value = tl.load(fresh_values_ptr + token * WIDTH + columns, mask=valid)
    tl.store(tail_values_ptr + place * WIDTH + columns, value, mask=valid)
