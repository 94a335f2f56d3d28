"""The noise must be a pure function of seed and position, and Gumbel distributed."""

import math

import numpy as np
import pytest
import torch

from llama4coder.sampling.noise import NoiseKey, gumbel_noise, gumbel_noise_of, philox_words


def noise(seed: int, position: int, vocab_size: int) -> torch.Tensor:
    return gumbel_noise([NoiseKey(seed, position)], vocab_size)[0]


def test_same_seed_and_position_give_the_same_noise() -> None:
    assert torch.equal(noise(7, 3, 1001), noise(7, 3, 1001))
    assert torch.equal(noise(2**64 - 1, 0, 100), noise(2**64 - 1, 0, 100))


@pytest.mark.parametrize(("seed", "position"), [(8, 3), (7, 4), (7 + 2**32, 3)])
def test_other_seeds_and_positions_give_other_noise(seed: int, position: int) -> None:
    assert not torch.isin(noise(7, 3, 1000), noise(seed, position, 1000)).any()


def test_a_wider_vocabulary_keeps_the_noise_of_the_first_tokens() -> None:
    assert torch.equal(noise(1, 2, 501), noise(1, 2, 4096)[:501])


def test_values_are_pinned() -> None:
    """A change of the generator would change every seeded answer: it must be a decision, not an accident."""
    expected = torch.tensor([5.279162, 0.703909, 1.112508, -0.169513])
    torch.testing.assert_close(noise(42, 5, 4), expected, atol=1e-5, rtol=0)


def test_words_are_those_of_the_published_generator() -> None:
    """Random123's known answer for Philox4x32-10 with key and counter zero."""
    assert philox_words([NoiseKey(0, 0)], 4)[0].tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_distribution_is_gumbel() -> None:
    drawn = gumbel_noise([NoiseKey(11, position) for position in range(10)], 50_000).double().numpy()
    assert np.isfinite(drawn).all()
    assert drawn.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert drawn.std() == pytest.approx(math.pi / math.sqrt(6), abs=0.01)
    for point in (-1.0, 0.0, 1.0, 3.0, 6.0):
        expected = math.exp(-math.exp(-point))
        assert (drawn < point).mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 5e5))


def test_a_row_is_the_same_alone_and_in_a_batch() -> None:
    keys = [NoiseKey(seed, position) for seed in (0, 2**63) for position in (0, 7)]
    together = gumbel_noise(keys, 333)
    for key, row in zip(keys, together, strict=True):
        assert torch.equal(row, noise(key.seed, key.position, 333))


def test_noise_of_some_tokens_is_that_of_all() -> None:
    keys = [NoiseKey(seed, position) for seed in (0, 2**64 - 1) for position in (0, 2**33)]
    token_ids = np.random.default_rng(0).integers(0, 5000, (len(keys), 77))
    expected = gumbel_noise(keys, 5000).gather(1, torch.from_numpy(token_ids))
    assert torch.equal(gumbel_noise_of(keys, token_ids), expected)
