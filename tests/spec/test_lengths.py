"""Draft lengths: the best that the predictions allow, and none where guesses do not pay."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llama4coder.spec.acceptance import Rates
from llama4coder.spec.lengths import Lengths, choose_lengths

CHANCE = st.floats(0.01, 0.99)
RATES = st.builds(Rates, CHANCE, CHANCE)
ROWS = st.lists(st.builds(Rates.gains, RATES, st.integers(0, 4)), max_size=40)
Times = NDArray[np.float64]


def flat(num_rows: int, max_extra: int) -> Times:
    """A step that waits for memory: every size takes the same time."""
    return np.full(max_extra + 1, 1.0)


def proportional(num_rows: int, max_extra: int) -> Times:
    """A step that computes all the time: every token takes the same time."""
    return np.arange(num_rows, num_rows + max_extra + 1, dtype=np.float64)


def bent(num_rows: int, max_extra: int, num_free: int = 100) -> Times:
    """Waits for memory as far as `num_free` tokens, and computes beyond."""
    return np.maximum(1.0, proportional(num_rows, max_extra) / num_free)


def choose(num_rows: int, rates: Rates, times: Callable[[int, int], Times], max_tokens: int = 8) -> Lengths:
    gains = [rates.gains(max_tokens)] * num_rows
    return choose_lengths(gains, num_rows, times(num_rows, num_rows * max_tokens))


def speedup(gains: list[list[float]], lengths: tuple[int, ...], num_rows: int, times_s: Times) -> float:
    expected = num_rows + sum(sum(row[:length]) for row, length in zip(gains, lengths, strict=True))
    return float(expected / times_s[sum(lengths)] * times_s[0] / num_rows)


@given(ROWS, st.integers(0, 5), st.lists(st.floats(0, 2), min_size=161, max_size=161))
def test_never_more_than_offered_and_never_worse_than_plain(
    gains: list[list[float]], num_plain: int, increments: list[float]
) -> None:
    num_rows = max(1, len(gains) + num_plain)
    times_s = 1 + np.cumsum(increments, dtype=np.float64)
    lengths = choose_lengths(gains, num_rows, times_s)
    assert all(0 <= length <= len(row) for row, length in zip(gains, lengths.of_rows, strict=True))
    assert speedup(gains, lengths.of_rows, num_rows, times_s) == pytest.approx(lengths.speedup)
    assert lengths.speedup >= 1


@given(st.lists(RATES, min_size=1, max_size=3), st.lists(st.floats(0, 0.5), min_size=9, max_size=9))
def test_no_other_lengths_are_better(rates: list[Rates], increments: list[float]) -> None:
    gains = [each.gains(3) for each in rates]
    times_s = np.cumsum([1.0, *increments], dtype=np.float64)
    chosen = choose_lengths(gains, len(gains), times_s)
    best = max(speedup(gains, each, len(gains), times_s) for each in product(range(4), repeat=len(gains)))
    assert chosen.speedup == pytest.approx(best) or (best < 1.02 and chosen.speedup == 1)


@given(CHANCE, CHANCE, st.floats(0, 0.3), st.integers(1, 12))
def test_more_acceptance_never_means_fewer_guesses(later: float, first: float, slope: float, num_rows: int) -> None:
    times_s = 1 + slope * np.arange(8 * num_rows + 1, dtype=np.float64)
    lengths = []
    for better in (0.0, 0.3, 0.6, 0.9):
        rates = Rates(first + (1 - first) * better, later + (1 - later) * better)
        lengths.append(sum(choose_lengths([rates.gains(8)] * num_rows, num_rows, times_s).of_rows))
    assert lengths == sorted(lengths)


def test_free_guesses_are_all_taken() -> None:
    assert choose(1, Rates(0.6, 0.8), flat).of_rows == (8,)


def test_guesses_that_cost_as_much_as_tokens_are_never_taken() -> None:
    for num_rows in (1, 4, 64):
        assert set(choose(num_rows, Rates(0.95, 0.95), proportional).of_rows) == {0}


def test_lengths_fall_to_nothing_as_the_batch_grows() -> None:
    means = [sum(choose(rows, Rates(0.7, 0.8), bent).of_rows) / rows for rows in (1, 8, 16, 32, 64, 100, 128, 200)]
    assert means[0] == 8
    assert means == sorted(means, reverse=True)
    assert means[-3:] == [0, 0, 0]


def test_the_likelier_row_gets_more() -> None:
    gains = [Rates(0.9, 0.9).gains(8), Rates(0.4, 0.5).gains(8)]
    likelier, other = choose_lengths(gains, 2, bent(2, 16, num_free=9)).of_rows
    assert likelier > other


def test_a_stair_is_filled_but_not_climbed() -> None:
    """Sizes of 1 to 4 cost the same, and those of 5 to 8 twice as much."""
    times_s = np.array([1.0, 1, 1, 1, 2, 2, 2, 2, 3])
    assert choose_lengths([Rates(0.5, 0.7).gains(8)], 1, times_s).of_rows == (3,)


def test_a_small_gain_is_not_worth_the_trouble() -> None:
    assert choose(1, Rates(0.015, 0.5), flat, max_tokens=1) == Lengths((0,), 1.0)


def test_rows_without_guesses_dilute_the_gain() -> None:
    gains = [Rates(0.9, 0.9).gains(4)]
    assert choose_lengths(gains, 1, flat(1, 4)).speedup > choose_lengths(gains, 10, flat(10, 4)).speedup > 1


def test_no_guesses_at_all() -> None:
    assert choose_lengths([], 3, flat(3, 0)) == Lengths((), 1.0)
    assert choose_lengths([[], []], 2, flat(2, 0)) == Lengths((0, 0), 1.0)
