"""Drawing tokens in Triton: the noise of `sampling.noise`, and the best token of each part of a row."""

import triton
import triton.language as tl


@triton.jit
def best_of_parts_kernel(
    logits_ptr,
    rows_ptr,
    lowest_ptr,
    values_ptr,
    tokens_ptr,
    row_stride,
    vocab_size,
    first_block,
    HAS_LOWEST: tl.constexpr,
    ROW_WORDS: tl.constexpr,
    NUM_BLOCKS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    words_ptr = rows_ptr + row * ROW_WORDS
    temperature = tl.load(words_ptr + 4).to(tl.float32, bitcast=True)
    blocks = part * NUM_BLOCKS + tl.arange(0, NUM_BLOCKS)
    noise = noise_words(first_block + blocks, words_ptr)
    best = tl.full((NUM_BLOCKS,), float("-inf"), tl.float32)
    best_token = 4 * blocks
    for lane in tl.static_range(4):
        token = 4 * blocks + lane
        logit = tl.load(logits_ptr + row * row_stride + token, mask=token < vocab_size, other=float("-inf"))
        logit = tl.where(logit == logit, logit, float("-inf"))  # what is no number must not become a token id
        value = logit
        if temperature > 0:
            value = logit / temperature + gumbel(noise[lane])
        if HAS_LOWEST:
            value = tl.where(logit < tl.load(lowest_ptr + row), float("-inf"), value)
        best_token = tl.where(value > best, token, best_token)
        best = tl.maximum(value, best)
    place = row * tl.num_programs(1) + part
    largest = tl.max(best, 0)
    tl.store(values_ptr + place, largest)
    tl.store(tokens_ptr + place, tl.min(tl.where(best == largest, best_token, vocab_size - 1), 0))


@triton.jit
def best_of_row_kernel(
    values_ptr, tokens_ptr, chosen_ptr, best_ptr, first_token, vocab_size, num_parts, WIDTH: tl.constexpr
):
    row = tl.program_id(0)
    parts = tl.arange(0, WIDTH)
    value = tl.load(values_ptr + row * num_parts + parts, mask=parts < num_parts, other=float("-inf"))
    token = tl.load(tokens_ptr + row * num_parts + parts, mask=parts < num_parts, other=vocab_size - 1)
    best = tl.max(value, 0)
    tl.store(chosen_ptr + row, first_token + tl.min(tl.where(value == best, token, vocab_size - 1), 0).to(tl.int64))
    tl.store(best_ptr + row, best)


@triton.jit
def noise_words(blocks, words_ptr):
    """The four words of each block."""
    seed_low = tl.load(words_ptr).to(tl.uint32, bitcast=True)
    seed_high = tl.load(words_ptr + 1).to(tl.uint32, bitcast=True)
    zeros = tl.zeros_like(blocks).to(tl.uint32)
    position_low = zeros + tl.load(words_ptr + 2).to(tl.uint32, bitcast=True)
    position_high = zeros + tl.load(words_ptr + 3).to(tl.uint32, bitcast=True)
    return tl.philox_impl(blocks.to(tl.uint32), position_low, position_high, zeros, seed_low, seed_high, 10)


@triton.jit
def gumbel(word):
    """As `sampling.noise`; for u below 1/4 a series, since a GPU's logarithm is too coarse beside 1."""
    u = (word.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    series = tl.full(u.shape, 1.0 / 13, tl.float32)
    for power in tl.static_range(12, 0, -1):
        series = series * u + 1.0 / power
    exponential = tl.where(u < 0.25, series * u, -tl.log(1.0 - u))
    return -tl.log(exponential)
