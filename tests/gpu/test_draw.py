"""Drawing on the GPU against drawing with torch; without a GPU the kernels run in Triton's interpreter."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from llama4coder.gpu.draw import TritonDraw, _row_words
from llama4coder.gpu.draw_kernels import gumbel, noise_words
from llama4coder.sampling.draw import DrawRow, TorchDraw
from llama4coder.sampling.noise import NoiseKey, gumbel_noise, philox_words

KEYS = [NoiseKey(0, 0), NoiseKey(2**64 - 1, 7), NoiseKey(2**40 + 3, 2**33 + 5)]


@triton.jit
def _store_words(rows, out, num_blocks: tl.constexpr):
    blocks = tl.arange(0, num_blocks)
    words = noise_words(blocks, rows)
    for lane in tl.static_range(4):
        tl.store(out + 4 * blocks + lane, words[lane].to(tl.int32, bitcast=True))


@triton.jit
def _store_gumbel(words, out, size: tl.constexpr):
    index = tl.arange(0, size)
    tl.store(out + index, gumbel(tl.load(words + index).to(tl.uint32, bitcast=True)))


@pytest.mark.parametrize("key", KEYS)
def test_words_are_those_of_the_reference(device: torch.device, key: NoiseKey) -> None:
    rows = torch.from_numpy(_row_words([DrawRow(key, 1.0)])).to(device)
    out = torch.empty(64, dtype=torch.int32, device=device)
    _store_words[(1,)](rows, out, num_blocks=16)
    np.testing.assert_array_equal(out.cpu().numpy().view(np.uint32), philox_words([key], 64)[0])


def test_noise_is_exact_at_both_ends(device: torch.device) -> None:
    """The winners are large noise, which comes from small words, where a coarse logarithm would be wrong by 10 %."""
    words = np.array([0, 1, 2, 1000, 10**6, 2**29, 2**30 - 1, 2**30, 2**31, 3 * 2**30, 2**32 - 1025], np.uint32)
    words = np.concatenate([words, np.random.default_rng(0).integers(0, 2**32, 501, dtype=np.uint32)])
    out = torch.empty(512, device=device)
    _store_gumbel[(1,)](torch.from_numpy(words.view(np.int32)).to(device), out, size=512)
    uniform = (words.astype(np.float32) + np.float32(0.5)).astype(np.float64) * 2.0**-32
    np.testing.assert_allclose(out.cpu().numpy(), -np.log(-np.log1p(-uniform)), atol=3e-6)


@pytest.mark.parametrize("vocab_size", [3, 4096, 4097, 9000])
def test_tokens_are_those_that_torch_draws(device: torch.device, vocab_size: int) -> None:
    logits = 3 * torch.randn(4, vocab_size, generator=torch.Generator().manual_seed(vocab_size))
    rows = [DrawRow(key, temperature) for key, temperature in zip([*KEYS, KEYS[0]], (1.0, 0.0, 0.7, 1.9), strict=True)]
    lowest = logits.topk(2).values[:, -1]
    for threshold in (None, lowest):
        expected = TorchDraw()(logits, rows, threshold)
        actual = TritonDraw()(logits.to(device), rows, None if threshold is None else threshold.to(device))
        assert actual.token_ids.dtype == torch.int64
        assert actual.token_ids.tolist() == expected.token_ids.tolist()
        torch.testing.assert_close(actual.values.cpu(), expected.values, atol=1e-4, rtol=1e-5)


def test_rows_of_a_wider_tensor_are_read_in_place(device: torch.device) -> None:
    wide = torch.randn(3, 600, generator=torch.Generator().manual_seed(1)).to(device)
    rows = [DrawRow(key, 0.5) for key in KEYS]
    expected = TritonDraw()(wide[:, 40:540].contiguous(), rows, None).token_ids
    assert torch.equal(TritonDraw()(wide[:, 40:540], rows, None).token_ids, expected)


def test_the_parts_of_a_vocabulary_have_the_noise_of_the_whole(device: torch.device) -> None:
    logits = torch.randn(3, 9000, generator=torch.Generator().manual_seed(5)).to(device)
    rows = [DrawRow(key, 1.3) for key in KEYS]
    whole = TritonDraw()(logits, rows, None)
    parts = [TritonDraw()(logits[:, first : first + 4544], rows, None, first) for first in (0, 4544)]
    better = max(parts, key=lambda part: part.values[0].item())
    assert better.values[0] == whole.values[0] and better.token_ids[0] == whole.token_ids[0]


def test_equal_logits_choose_the_lowest_token(device: torch.device) -> None:
    logits = torch.zeros(1, 5000, device=device)
    logits[0, [33, 34, 4500]] = 1.0
    assert TritonDraw()(logits, [DrawRow(KEYS[0], 0.0)], None).token_ids.tolist() == [33]


def test_logits_that_are_no_numbers_choose_a_token_that_exists(device: torch.device) -> None:
    logits = torch.full((1, 5000), torch.nan, device=device)
    assert 0 <= TritonDraw()(logits, [DrawRow(KEYS[0], 1.0)], None).token_ids.item() < 5000


def test_noise_decides_among_equal_logits(device: torch.device) -> None:
    expected = gumbel_noise(KEYS, 700).argmax(-1)
    chosen = TritonDraw()(torch.zeros(3, 700, device=device), [DrawRow(key, 1.0) for key in KEYS], None)
    assert chosen.token_ids.tolist() == expected.tolist()
