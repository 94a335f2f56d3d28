"""Perplexity and differences with their intervals: one worked out by hand, and their coverage on dependent losses."""

import math
import random
from collections.abc import Sequence

import pytest

from llama4coder.perplexity.interval import (
    BLOCK_TOKENS,
    FEWEST_BLOCKS,
    Estimate,
    Interval,
    difference_percent,
    perplexity,
)


def in_blocks(means: Sequence[float]) -> list[list[float]]:
    """One window, each block of which has one loss throughout."""
    return [[mean for mean in means for _ in range(BLOCK_TOKENS)]]


def test_by_hand() -> None:
    """20 blocks, half of them at 1 and half at 3: mean 2, variance of block means 20/19, standard error sqrt(1/19)."""
    found = perplexity(in_blocks([1.0, 3.0] * 10))
    reach = 1.959964 * math.sqrt(1 / 19)
    assert found.value == pytest.approx(math.e**2)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(math.exp(2 - reach), rel=1e-6)
    assert found.interval.high == pytest.approx(math.exp(2 + reach), rel=1e-6)


def test_blocks_end_with_their_windows_and_weigh_by_their_tokens() -> None:
    """20 windows of 3 tokens and 20 of 1: mean (60·1 + 20·2) / 80 = 1.25; sums are off by ∓0.75 each."""
    found = perplexity([[1.0] * 3] * 20 + [[2.0]] * 20)
    reach = 1.959964 * math.sqrt(40 * 0.75**2 * 40 / 39) / 80
    assert found.value == pytest.approx(math.exp(1.25))
    assert found.interval is not None
    assert found.interval.high == pytest.approx(math.exp(1.25 + reach), rel=1e-6)


def test_difference_is_paired() -> None:
    """The text's own difficulty, which is the same in both, does not widen the interval."""
    hard = [random.Random(0).uniform(0.0, 10.0) for _ in range(20)]
    own = in_blocks([loss + (0.01 if index % 2 else 0.03) for index, loss in enumerate(hard)])
    found = difference_percent(own, in_blocks(hard))
    reach = 1.959964 * 0.01 * math.sqrt(1 / 19)
    assert found.value == pytest.approx(100 * (math.exp(0.02) - 1))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(100 * (math.exp(0.02 - reach) - 1), rel=1e-4)
    assert found.interval.high == pytest.approx(100 * (math.exp(0.02 + reach) - 1), rel=1e-4)


def test_same_losses_do_not_differ() -> None:
    losses = in_blocks([1.0, 3.0] * 10)
    assert difference_percent(losses, losses) == Estimate(0.0, Interval(0.0, 0.0))


def test_too_few_blocks() -> None:
    assert perplexity(in_blocks([1.0] * (FEWEST_BLOCKS - 1))).interval is None
    assert perplexity(in_blocks([1.0] * FEWEST_BLOCKS)).interval is not None


def test_other_tokens_are_not_compared() -> None:
    with pytest.raises(ValueError, match="longer than"):
        difference_percent([[1.0]], [[1.0, 2.0]])


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Losses that depend on the 50 before them; with tokens as units the interval would hold it in one of six."""
    hits = 0
    for seed in range(100):
        noise, level, losses = random.Random(seed), 0.0, []
        for _ in range(40 * BLOCK_TOKENS):
            level = 0.98 * level + noise.gauss(0.0, 0.2)
            losses.append(2.0 + level)
        interval = perplexity([losses]).interval
        hits += interval is not None and interval.low <= math.exp(2.0) <= interval.high
    assert 85 <= hits <= 99
