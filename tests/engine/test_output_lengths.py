"""What is reserved for an output follows the outputs that have ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.engine.output_lengths import OutputLengths


def seen(*lengths: int) -> OutputLengths:
    outputs = OutputLengths()
    for length in lengths:
        outputs.observe(length, is_cut=False)
    return outputs


def test_before_any_output_there_is_a_guess() -> None:
    assert seen().expected(0) == 256


@pytest.mark.parametrize(("length", "expected"), [(1, 1), (2, 2), (3, 4), (16, 16), (17, 32), (3000, 4096)])
def test_equal_outputs_are_expected_up_to_a_power_of_two(length: int, expected: int) -> None:
    assert seen(*[length] * 60).expected(0) == expected


def test_most_outputs_are_to_have_room_and_not_the_longest_few() -> None:
    assert seen(*[100, 100, 100, 100, 100, 100, 100, 100, 100, 3000] * 20).expected(0) == 128
    assert seen(*[100, 100, 100, 3000, 3000] * 40).expected(0) == 4096


def test_what_was_long_ago_is_forgotten() -> None:
    assert seen(*[3000] * 500, *[20] * 300).expected(0) == 32


def test_who_came_so_far_is_compared_with_those_who_came_farther() -> None:
    outputs = seen(*[10] * 90, *[900] * 10)
    assert outputs.expected(0) == 16
    assert outputs.expected(16) == 1024
    assert outputs.expected(5000) == 8192, "nobody ever did"


def test_an_output_that_was_cut_off_teaches_only_that_outputs_are_longer() -> None:
    outputs = seen()
    for _ in range(200):
        outputs.observe(16, is_cut=True)
    assert outputs.expected(0) == 256
    for _ in range(200):
        outputs.observe(1000, is_cut=True)
    assert outputs.expected(0) == 1024


@given(st.lists(st.integers(1, 2**40), max_size=50), st.integers(0, 2**20))
def test_more_is_expected_than_there_is(lengths: list[int], num_so_far: int) -> None:
    assert seen(*lengths).expected(num_so_far) > num_so_far
