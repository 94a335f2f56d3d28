"""The table of step times: learned, monotone, interpolated, and wary of what it does not know."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.spec.step_times import StepTimes

COSTS = st.lists(st.tuples(st.integers(1, 2000), st.floats(1e-4, 10)), max_size=60)


def learned(*costs: tuple[int, float]) -> StepTimes:
    times = StepTimes()
    for num_tokens, time_s in costs:
        times.observe(num_tokens, time_s)
    return times


@given(COSTS, st.integers(1, 300), st.integers(0, 300))
def test_times_are_positive_and_never_fall(costs: list[tuple[int, float]], num_tokens: int, max_extra: int) -> None:
    times_s = learned(*costs).predict(num_tokens, max_extra)
    assert len(times_s) == max_extra + 1
    assert times_s[0] > 0 and math.isfinite(times_s[0])
    assert all(before <= after * (1 + 1e-12) for before, after in pairwise(times_s))


def test_known_sizes_are_told_as_they_are_and_others_lie_between() -> None:
    times_s = learned((1, 0.010), (4, 0.016), (8, 0.032)).predict(1, 7)
    assert times_s == pytest.approx([0.010, 0.012, 0.014, 0.016, 0.020, 0.024, 0.028, 0.032])


def test_smaller_sizes_than_any_known_one_are_thought_cheaper() -> None:
    """Or plain decoding would never be tried where every step so far had guesses."""
    assert learned((9, 0.030), (13, 0.040)).predict(1, 8)[[0, 4, 8]] == pytest.approx([0.010, 0.020, 0.030])
    assert learned((10, 0.010), (11, 0.020)).predict(1, 0) == pytest.approx([0.001])
    assert learned((9, 0.030)).predict(1, 0) == pytest.approx([0.030])


def test_sizes_out_of_order_share_their_mean() -> None:
    assert learned((1, 0.020), (2, 0.010), (3, 0.030)).predict(1, 2) == pytest.approx([0.015, 0.015, 0.030])


def test_what_is_unknown_is_tried_little_by_little() -> None:
    times_s = learned((4, 0.01)).predict(4, 8)
    assert list(np.isfinite(times_s)) == [True] * 3 + [False] * 6
    assert list(times_s[:3]) == [0.01] * 3


def test_beyond_the_largest_size_the_line_goes_on() -> None:
    assert learned((8, 0.010), (12, 0.014)).predict(12, 4) == pytest.approx([0.014, 0.015, 0.016, 0.017, 0.018])


def test_before_the_first_step_few_guesses_are_tried() -> None:
    assert list(np.isfinite(StepTimes().predict(1, 3))) == [True] * 2 + [False] * 2
    assert list(np.isfinite(StepTimes().predict(16, 9))) == [True] * 6 + [False] * 4


def test_what_was_seen_once_is_soon_forgotten_and_what_is_seen_often_is_not() -> None:
    """A first time at a bad moment would never be corrected, since the size would not be used again."""
    times = learned(*[(2, 0.012)] * 20, (8, 0.500), *[(1, 0.010)] * 40)
    assert times.predict(1, 1) == pytest.approx([0.010, 0.012])
    assert times.predict(1, 2)[2] == pytest.approx(0.014)


def test_a_disturbed_step_counts_little_and_is_soon_forgotten() -> None:
    times = learned((1, 0.010), (1, 0.500))
    assert times.predict(1, 0)[0] < 0.07
    for _ in range(5):
        times.observe(1, 0.010)
    assert times.predict(1, 0)[0] == pytest.approx(0.010, rel=0.2)


def test_a_machine_that_stays_slower_is_noticed() -> None:
    times = learned((1, 0.010), *[(1, 0.020)] * 40)
    assert times.predict(1, 0)[0] == pytest.approx(0.020, rel=0.1)


def test_padded_sizes_make_a_staircase() -> None:
    times = StepTimes(padded=lambda num_tokens: -(-num_tokens // 4) * 4)
    for num_tokens, time_s in ((3, 0.010), (7, 0.020)):
        times.observe(num_tokens, time_s)
    assert list(times.predict(1, 7)) == [0.010] * 4 + [0.020] * 4


@given(st.integers(1, 100_000))
def test_the_table_stays_small(largest: int) -> None:
    times = StepTimes()
    for num_tokens in range(1, largest, max(1, largest // 500)):
        times.observe(num_tokens, 1.0)
    assert len(times._entries) <= 16 + 8 * largest.bit_length()
