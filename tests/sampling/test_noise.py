"""The noise must be a pure function of seed and position, and Gumbel distributed."""

import math

import numpy as np
import pytest
import torch

from llama4coder.sampling.noise import gumbel_noise


def test_same_seed_and_position_give_the_same_noise() -> None:
    assert torch.equal(gumbel_noise(7, 3, 1001), gumbel_noise(7, 3, 1001))
    assert torch.equal(gumbel_noise(2**64 - 1, 0, 100), gumbel_noise(2**64 - 1, 0, 100))


@pytest.mark.parametrize(("seed", "position"), [(8, 3), (7, 4), (7 + 2**32, 3)])
def test_other_seeds_and_positions_give_other_noise(seed: int, position: int) -> None:
    assert not torch.isin(gumbel_noise(7, 3, 1000), gumbel_noise(seed, position, 1000)).any()


def test_a_wider_vocabulary_keeps_the_noise_of_the_first_tokens() -> None:
    assert torch.equal(gumbel_noise(1, 2, 501), gumbel_noise(1, 2, 4096)[:501])


def test_values_are_pinned() -> None:
    """A change of the generator would change every seeded answer: it must be a decision, not an accident."""
    expected = torch.tensor([2.106514, -0.382324, -0.720336, 1.137047])
    torch.testing.assert_close(gumbel_noise(42, 5, 4), expected, atol=1e-5, rtol=0)


def test_distribution_is_gumbel() -> None:
    noise = torch.cat([gumbel_noise(11, position, 50_000) for position in range(10)]).double().numpy()
    assert np.isfinite(noise).all()
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.std() == pytest.approx(math.pi / math.sqrt(6), abs=0.01)
    for point in (-1.0, 0.0, 1.0, 3.0, 6.0):
        expected = math.exp(-math.exp(-point))
        assert (noise < point).mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 5e5))
