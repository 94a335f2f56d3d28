"""Paged attention in Triton: one kernel for prefill, decoding and verification, and what it shares with the merge.

Each program computes one tile of one row's queries for one KV head. The query heads of a group are rows of the same
tile, so keys and values are read once for all of them. Scores are kept in base 2, where the hardware's exponential
is, and log-sum-exps leave in base e.
"""

import triton
import triton.language as tl

from llama4coder.gpu.format_kernels import DENSE, FP8, INT4
from llama4coder.gpu.load_kernels import load_int4_keys, load_int4_values, load_scales, widened
from llama4coder.gpu.tail_kernels import load_recent


@triton.jit
def num_held(length, shard, NUM_SHARDS: tl.constexpr, KV_BLOCK: tl.constexpr):
    """How many of a sequence's first tokens lie on a KV shard: see `kv.striping`."""
    held = length
    if NUM_SHARDS > 1:
        full = length // KV_BLOCK
        rest = tl.where(full % NUM_SHARDS == shard, length % KV_BLOCK, 0)
        held = (full + NUM_SHARDS - 1 - shard) // NUM_SHARDS * KV_BLOCK + rest
    return held


@triton.jit
def num_seen(position, shard, FORMAT: tl.constexpr, NUM_SHARDS: tl.constexpr, KV_BLOCK: tl.constexpr):
    """How many of a shard's keys the token at `position` sees in the pool; its own block may lie elsewhere."""
    seen = position + 1
    if FORMAT >= FP8:
        seen = tl.maximum(position, 0) // KV_BLOCK * KV_BLOCK
    return num_held(seen, shard, NUM_SHARDS, KV_BLOCK)


@triton.jit
def split_size(length, num_splits, BLOCK_N: tl.constexpr, MIN_TOKENS: tl.constexpr):
    """Keys per split of a row: from its own length, so that all splits of a row in use have equal work."""
    tokens = tl.cdiv(tl.cdiv(length, num_splits), BLOCK_N) * BLOCK_N
    return tl.maximum(tokens, MIN_TOKENS)


@triton.jit
def find_tile(starts_ptr, index, num_rows, TOKENS_PER_TILE: tl.constexpr, BLOCK_ROWS: tl.constexpr):
    """The row that holds the step's tile `index`, where row r's tiles begin at starts[r] // TOKENS_PER_TILE + r.

    Counting one spare tile per row makes the beginnings computable without a prefix sum over the rows.
    """
    rows = tl.arange(0, BLOCK_ROWS)
    starts = tl.load(starts_ptr + rows, mask=rows < num_rows, other=0)
    begins = starts // TOKENS_PER_TILE + rows
    row = tl.sum(((begins <= index) & (rows < num_rows)).to(tl.int32), axis=0) - 1
    return row, index - (tl.load(starts_ptr + row) // TOKENS_PER_TILE + row)


@triton.jit
def _take_in(acc, best, total, scores, value, factors, PRECISION: tl.constexpr):
    """Add a tile of values by their scores, in base 2; `factors`, if any, are what the values still lack.

    `best` and `total` are each query's largest score and its sum of weights so far.
    """
    new_best = tl.maximum(best, tl.max(scores, axis=1))
    # A query that has seen nothing yet: any finite number keeps -inf - -inf out.
    finite_best = tl.where(new_best == float("-inf"), 0.0, new_best)
    weights = tl.exp2(scores - finite_best[:, None])
    decay = tl.exp2(best - finite_best)
    total = total * decay + tl.sum(weights, axis=1)
    if factors is not None:
        weights *= factors[None, :]
    acc = tl.dot(weights.to(value.dtype), value, acc * decay[:, None], input_precision=PRECISION)
    return acc, new_best, total


@triton.jit
def _accumulate(acc, best, total, query, nums_seen, firsts_seen, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr,
                key_lows_ptr, value_lows_ptr, table_ptr, first, last, head, block_stride, token_stride, scale,
                HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, KV_BLOCK: tl.constexpr,
                FORMAT: tl.constexpr, MASKED: tl.constexpr, WINDOW: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Attend to the keys [first, last); unmasked, their number is a multiple of BLOCK_N and all queries see them.

    `nums_seen` is how many of the row's keys each query sees, but for those before `firsts_seen` if there is a WINDOW.
    """
    offsets = tl.arange(0, BLOCK_N)
    dims = tl.arange(0, BLOCK_D)
    for start in range(first, last, BLOCK_N):
        positions = start + offsets
        if MASKED:
            blocks = tl.load(table_ptr + positions // KV_BLOCK, mask=positions < last, other=0)
        else:
            blocks = tl.load(table_ptr + positions // KV_BLOCK)
        places = blocks.to(tl.int64) * block_stride + (positions % KV_BLOCK) * token_stride
        places = places[:, None] + dims[None, :]
        if FORMAT == INT4:
            key = load_int4_keys(keys_ptr, key_scales_ptr, key_lows_ptr, table_ptr, start, last, head, block_stride,
                                 token_stride, query.dtype, HEAD_DIM, BLOCK_D, BLOCK_N, KV_BLOCK)  # fmt: skip
            value = load_int4_values(values_ptr, value_scales_ptr, value_lows_ptr, blocks, positions, last, head,
                                     block_stride, token_stride, query.dtype, HEAD_DIM, BLOCK_D, KV_BLOCK)  # fmt: skip
        elif MASKED or BLOCK_D != HEAD_DIM:
            stored = (positions < last)[:, None] & (dims < HEAD_DIM)[None, :]
            key = widened(tl.load(keys_ptr + places, mask=stored, other=0), query.dtype, FORMAT)
            value = widened(tl.load(values_ptr + places, mask=stored, other=0), query.dtype, FORMAT)
        else:
            key = widened(tl.load(keys_ptr + places), query.dtype, FORMAT)
            value = widened(tl.load(values_ptr + places), query.dtype, FORMAT)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
        factors = None
        if FORMAT != DENSE and FORMAT != INT4:
            key_factors = load_scales(key_scales_ptr, blocks, positions, last, head, FORMAT, KV_BLOCK)
            scores *= key_factors[None, :]
            factors = load_scales(value_scales_ptr, blocks, positions, last, head, FORMAT, KV_BLOCK)
        if MASKED:
            seen = (positions[None, :] < nums_seen[:, None]) & (positions < last)[None, :]
            if WINDOW > 0:
                seen = seen & (positions[None, :] >= firsts_seen[:, None])
            scores = tl.where(seen, scores, float("-inf"))
        acc, best, total = _take_in(acc, best, total, scores, value, factors, PRECISION)
    return acc, best, total


@triton.jit
def _attend_pool(query, positions, first_position, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr,
                 key_lows_ptr, value_lows_ptr, table_ptr, first_key, last_key, head, block_stride, token_stride, shard,
                 scale, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                 KV_BLOCK: tl.constexpr, FORMAT: tl.constexpr, NUM_SHARDS: tl.constexpr, WINDOW: tl.constexpr,
                 PRECISION: tl.constexpr):  # fmt: skip
    """Attend to the pool's keys [first_key, last_key), first those that all queries of the tile see.

    If there is a WINDOW, each query sees the last so many keys up to its own.
    """
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    best = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_M], dtype=tl.float32)
    nums_seen = num_seen(positions, shard, FORMAT, NUM_SHARDS, KV_BLOCK)
    seen_by_all = num_seen(first_position, shard, FORMAT, NUM_SHARDS, KV_BLOCK)
    firsts_seen = positions
    if WINDOW > 0:  # all of it masked: what all queries see lies in its middle
        firsts_seen = positions + 1 - WINDOW
        first_key = tl.maximum(first_key, tl.maximum(first_position + 1 - WINDOW, 0) // BLOCK_N * BLOCK_N)
        seen_by_all = first_key
    masked_key = first_key + tl.maximum(tl.minimum(seen_by_all, last_key) - first_key, 0) // BLOCK_N * BLOCK_N
    if FORMAT == INT4:
        keys_ptr, values_ptr = keys_ptr + head * (HEAD_DIM // 2), values_ptr + head * (HEAD_DIM // 2)
    else:
        keys_ptr, values_ptr = keys_ptr + head * HEAD_DIM, values_ptr + head * HEAD_DIM
    acc, best, total = _accumulate(acc, best, total, query, nums_seen, firsts_seen, keys_ptr, values_ptr,
                                   key_scales_ptr, value_scales_ptr, key_lows_ptr, value_lows_ptr, table_ptr,
                                   first_key, masked_key, head, block_stride, token_stride, scale, HEAD_DIM, BLOCK_D,
                                   BLOCK_N, KV_BLOCK, FORMAT, False, WINDOW, PRECISION)  # fmt: skip
    return _accumulate(acc, best, total, query, nums_seen, firsts_seen, keys_ptr, values_ptr, key_scales_ptr,
                       value_scales_ptr, key_lows_ptr, value_lows_ptr, table_ptr, masked_key, last_key, head,
                       block_stride, token_stride, scale, HEAD_DIM, BLOCK_D, BLOCK_N, KV_BLOCK, FORMAT, True, WINDOW,
                       PRECISION)  # fmt: skip


@triton.jit
def _accumulate_own(acc, best, total, query, positions, first, end, fresh_keys_ptr, fresh_values_ptr, tail_keys_ptr,
                    tail_values_ptr, head, first_query, start, length, new_from, table_row, shard, scale,
                    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, KV_BLOCK: tl.constexpr, NUM_SHARDS: tl.constexpr,
                    TAIL_TOKENS: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Attend to what each query sees of its own block, which is dense: see `kv.formats.tail`.

    The queries are at `positions` from `first` to `end`.
    """
    dims = tl.arange(0, BLOCK_D)
    num_kv_heads = tl.num_programs(1)
    for block in range(tl.maximum(first, 0) // KV_BLOCK, tl.cdiv(end, KV_BLOCK)):
        keys = block * KV_BLOCK + tl.arange(0, KV_BLOCK)
        key = load_recent(fresh_keys_ptr, tail_keys_ptr, keys, dims, head, num_kv_heads, first_query, start, length,
                          new_from, table_row, HEAD_DIM, HEAD_DIM, TAIL_TOKENS)  # fmt: skip
        value = load_recent(fresh_values_ptr, tail_values_ptr, keys, dims, head, num_kv_heads, first_query, start,
                            length, new_from, table_row, HEAD_DIM, HEAD_DIM, TAIL_TOKENS)  # fmt: skip
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
        seen = (keys[None, :] <= positions[:, None]) & (positions // KV_BLOCK == block)[:, None]
        if NUM_SHARDS > 1:
            seen = seen & (block % NUM_SHARDS == shard)
        scores = tl.where(seen, scores, float("-inf"))
        acc, best, total = _take_in(acc, best, total, scores, value, None, PRECISION)
    return acc, best, total


@triton.jit
def _store(out_ptr, lse_ptr, acc, best, total, places, valid, dims, HEAD_DIM: tl.constexpr):
    """What `_accumulate` came to, or zeros and -inf for queries that saw nothing."""
    saw_any = total > 0
    divisor = tl.where(saw_any, total, 1.0)
    lse = tl.where(saw_any, (best + tl.log2(divisor)) * 0.6931471805599453, float("-inf"))
    out = (acc / divisor[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(lse_ptr + places, lse, mask=valid)
    valid_dims = valid[:, None] & (dims < HEAD_DIM)[None, :]
    tl.store(out_ptr + places[:, None] * HEAD_DIM + dims[None, :], out, mask=valid_dims)


@triton.jit(do_not_specialize=["table_stride", "num_rows", "num_splits", "num_slots", "shard"])
def paged_attention_kernel(out_ptr, lse_ptr, queries_ptr, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr,
                           key_lows_ptr, value_lows_ptr, fresh_keys_ptr, fresh_values_ptr, tail_keys_ptr,
                           tail_values_ptr, starts_ptr, lengths_ptr, tables_ptr, new_from_ptr, table_rows_ptr,
                           table_stride, block_stride, token_stride, num_rows, num_splits, num_slots, shard, scale,
                           GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr,
                           BLOCK_N: tl.constexpr, BLOCK_ROWS: tl.constexpr, KV_BLOCK: tl.constexpr,
                           FORMAT: tl.constexpr, TAIL_TOKENS: tl.constexpr, NUM_SHARDS: tl.constexpr,
                           MIN_TOKENS: tl.constexpr, MAX_TOKENS: tl.constexpr, MIN_SPLIT_TOKENS: tl.constexpr,
                           TILED: tl.constexpr, SPLIT: tl.constexpr, WINDOW: tl.constexpr,
                           PRECISION: tl.constexpr):  # fmt: skip
    """Rows of MIN_TOKENS to MAX_TOKENS query tokens; grid is (rows, or tiles if TILED; KV heads; splits).

    Out is `[num_tokens, num_heads, HEAD_DIM]`, or, if SPLIT, `[num_splits, num_slots, num_heads, HEAD_DIM]` with
    MAX_TOKENS slots per row, and the LSE alike. Lengths count all tokens of a sequence; keys are those of one KV shard.
    """
    TOKENS_PER_TILE: tl.constexpr = BLOCK_M // GROUP
    row, head, split, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2), 0
    if TILED:  # the last tiles of a row see the most keys; begun first, they do not hold up the end
        index = tl.num_programs(0) - 1 - row
        row, tile = find_tile(starts_ptr, index, num_rows, TOKENS_PER_TILE, BLOCK_ROWS)
    first_query, length = tl.load(starts_ptr + row), tl.load(lengths_ptr + row)
    num_tokens = tl.load(starts_ptr + row + 1) - first_query
    first_token = tile * TOKENS_PER_TILE
    if (num_tokens < MIN_TOKENS) | (num_tokens > MAX_TOKENS) | (first_token >= num_tokens):
        return
    num_keys = num_held(length, shard, NUM_SHARDS, KV_BLOCK)
    first_key, last_key, first_slot = 0, num_keys, first_query
    if SPLIT:
        size = split_size(num_keys, num_splits, BLOCK_N, MIN_SPLIT_TOKENS)
        first_key, first_slot = split * size, split * num_slots + row * MAX_TOKENS
        last_key = tl.minimum(first_key + size, num_keys)
        if first_key >= num_keys:
            return

    num_heads = tl.num_programs(1) * GROUP
    tile_rows, dims = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    tokens, heads = first_token + tile_rows // GROUP, head * GROUP + tile_rows % GROUP
    valid = (tokens < num_tokens) & (tile_rows < TOKENS_PER_TILE * GROUP)
    places = (first_query + tokens).to(tl.int64) * num_heads + heads
    query_places = places[:, None] * HEAD_DIM + dims[None, :]
    query = tl.load(queries_ptr + query_places, mask=valid[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)
    start = length - num_tokens
    end = start + tl.minimum(first_token + TOKENS_PER_TILE, num_tokens)
    last_key = tl.minimum(last_key, num_seen(end - 1, shard, FORMAT, NUM_SHARDS, KV_BLOCK))
    table_ptr = tables_ptr + row.to(tl.int64) * table_stride
    acc, best, total = _attend_pool(query, start + tokens, start + first_token, keys_ptr, values_ptr, key_scales_ptr,
                                    value_scales_ptr, key_lows_ptr, value_lows_ptr, table_ptr, first_key, last_key,
                                    head, block_stride, token_stride, shard, scale, HEAD_DIM, BLOCK_D, BLOCK_M,
                                    BLOCK_N, KV_BLOCK, FORMAT, NUM_SHARDS, WINDOW, PRECISION)  # fmt: skip
    if FORMAT >= FP8:
        end = tl.where(split == 0, end, 0)  # by one split alone; the first is there wherever there are keys
        new_from, table_row = tl.load(new_from_ptr + row), tl.load(table_rows_ptr + row)
        acc, best, total = _accumulate_own(acc, best, total, query, start + tokens, start + first_token, end,
                                           fresh_keys_ptr, fresh_values_ptr, tail_keys_ptr, tail_values_ptr, head,
                                           first_query, start, length, new_from, table_row, shard, scale, HEAD_DIM,
                                           BLOCK_D, KV_BLOCK, NUM_SHARDS, TAIL_TOKENS, PRECISION)  # fmt: skip

    places = (first_slot + tokens).to(tl.int64) * num_heads + heads
    _store(out_ptr, lse_ptr, acc, best, total, places, valid, dims, HEAD_DIM)
