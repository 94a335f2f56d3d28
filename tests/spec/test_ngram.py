"""Prompt lookup: the longest match wins, and a prediction is followed through its edits."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.spec.follower import LONGEST_MATCH, Follower
from llama4coder.spec.ngram import LongMatches, NgramProposer
from llama4coder.spec.suffix_index import NUM_HASHED, SuffixIndex
from llama4coder.spec.types import DraftQuery, DraftSource
from tests.support.edited_file import edited_file
from tests.support.proposer_contract import make_request, play

LINE = [90, 91, 92, 93]  # stands in every file below between any two tokens


def follow(follower: Follower, token_ids: Sequence[int]) -> Follower:
    follower.extend(token_ids)
    return follower


def lines(*names: int) -> list[int]:
    return [token_id for name in names for token_id in (name, *LINE)]


def tokens_per_step(prompt: Sequence[int], prediction: Sequence[int], output: Sequence[int]) -> float:
    request = make_request("a", prompt, prediction)
    return len(output) / len(play(NgramProposer(), request, output, max_tokens=8))


# --- the index ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(0, 60))
def test_every_earlier_run_is_found_latest_first(token_ids: list[int], num_built: int) -> None:
    """Whatever part was there when the index was built."""
    text = token_ids[:num_built]
    index = SuffixIndex(text)
    for token_id in token_ids[num_built:]:
        text.append(token_id)
        index.append(text)
    end = len(text)
    last = text[-NUM_HASHED:] if end >= NUM_HASHED else None
    expected = [place for place in range(end - 1, NUM_HASHED - 1, -1) if text[place - NUM_HASHED : place] == last]
    found = list(index.places(1000))
    assert [place for place in found if text[place - NUM_HASHED : place] == last] == expected
    assert found == sorted(set(found), reverse=True)


def test_no_more_places_than_asked_for() -> None:
    assert list(SuffixIndex([5] * 100).places(3)) == [99, 98, 97]


# --- the cursor -----------------------------------------------------------------------------------------------------


def test_what_followed_before_is_guessed() -> None:
    assert Follower([], [1, 2, 3, 4, 5, 9, 1, 2, 3]).guess(3) == (4, 5, 9)


def test_no_guess_where_nothing_repeats() -> None:
    assert Follower([], [1, 2, 3, 4, 5, 6]).guess(3) == ()
    assert Follower([], [7]).guess(3) == ()


def test_the_longest_match_wins_over_the_latest() -> None:
    text = [5, 1, 2, 3, 70, 6, 1, 2, 3, 80, 5, 1, 2, 3]
    assert Follower([], text).guess(1) == (70,)


def test_the_latest_of_equal_matches_wins() -> None:
    text = [5, 1, 2, 3, 70, 5, 1, 2, 3, 80, 5, 1, 2, 3]
    assert Follower([], text).guess(1) == (80,)


def test_a_loop_is_guessed_to_go_on() -> None:
    assert Follower([], [1, 2, 3, 1, 2, 3, 1, 2, 3]).guess(5) == (1, 2, 3, 1, 2)


def test_a_guess_is_no_longer_than_the_match_before_it() -> None:
    follower = Follower([], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3])
    assert follower.guess(8) == (4, 5, 6)
    assert follow(follower, [4, 5]).guess(8) == (6, 7, 8, 9, 10)


def test_a_prediction_is_guessed_from_its_beginning_and_never_past_its_end() -> None:
    follower = Follower([11, 12, 13], [1, 2])
    assert follower.guess(8) == (11, 12, 13)
    assert follow(follower, [11, 12]).guess(8) == (13,)
    assert follow(follower, [13]).guess(8) == ()


@pytest.mark.parametrize(
    ("written", "first", "second"),
    [
        pytest.param([50, *LINE], 3, 4, id="replaced"),
        pytest.param(lines(50, 51, 52), 2, 3, id="inserted"),
        pytest.param([], 3, 4, id="deleted"),
    ],
)
def test_after_an_edit_the_prediction_goes_on(written: list[int], first: int, second: int) -> None:
    """Though the repeated line alone would lead anywhere."""
    follower = follow(Follower(lines(1, 2, 3, 4, 5, 6, 7, 8, 9), [30]), [*lines(1), *written, first])
    follow(follower, LINE)
    assert follower.guess(5) == (second, *LINE)


def test_of_equal_places_the_one_shortly_after_the_edit_wins() -> None:
    """The latest place would be the prediction's last line."""
    follower = follow(Follower(lines(1, 2, 3, 4, 5, 6), [30]), [*lines(1, 2), 50, *LINE])
    assert follower.guess(1) == (4,)


def test_nothing_spans_prediction_and_prompt() -> None:
    """The prediction's end and the prompt's beginning are no text."""
    follower = Follower([1, 2, 3], [4, 5, 6, 7, 1, 2, 3, 4, 5])
    assert follow(follower, [99, 2, 3, 4]).guess(1) == (5,)
    assert follow(Follower([1, 2, 3], [4, 8, 9]), [2, 3, 4]).guess(1) == ()


# --- the proposer ---------------------------------------------------------------------------------------------------


def test_a_guess_says_who_made_it() -> None:
    proposer = NgramProposer()
    proposer.begin(make_request("a", prompt=(1, 2, 3, 4, 1, 2, 3)))
    assert proposer.may_guess("a")
    draft = proposer.propose([DraftQuery("a", (1, 2, 3, 4, 1, 2, 3), 2)])["a"]
    assert (draft.source, draft.token_ids) == (DraftSource.NGRAM, (4, 1))


def test_may_guess_says_no_when_there_is_nothing() -> None:
    proposer = NgramProposer()
    proposer.begin(make_request("a", prompt=(1, 2, 3, 4)))
    assert not proposer.may_guess("a")


def test_earlier_output_is_looked_up_too() -> None:
    output = [*range(1, 30), 99, *range(1, 30)]
    assert tokens_per_step([50], [], output) > 1.5


def test_output_from_before_a_move_is_looked_up_too() -> None:
    request = replace(make_request("a", prompt=(1,)), output_token_ids=(2, 3, 4, 5, 6, 2, 3, 4))
    proposer = NgramProposer()
    proposer.begin(request)
    assert proposer.propose([DraftQuery("a", (1, 2, 3, 4, 5, 6, 2, 3, 4), 2)])["a"].token_ids == (5, 6)


def test_long_matches_are_those_of_the_other_one_that_are_long() -> None:
    ngram = NgramProposer()
    long = LongMatches(ngram, min_match=5)
    ngram.begin(make_request("short", prompt=(9, 1, 2, 3, 4, 8, 1, 2, 3, 4)))
    ngram.begin(make_request("long", prompt=(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4)))
    queries = [
        DraftQuery("short", (9, 1, 2, 3, 4, 8, 1, 2, 3, 4), 1),
        DraftQuery("long", (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4), 1),
    ]
    assert set(ngram.propose(queries)) == {"short", "long"}
    assert set(long.propose(queries)) == {"long"}
    assert (long.may_guess("short"), long.may_guess("long")) == (False, True)


def test_a_prediction_counts_as_a_long_match_from_the_start() -> None:
    ngram = NgramProposer()
    ngram.begin(make_request("a", prompt=(1,), prediction=(5, 6, 7)))
    assert LongMatches(ngram, LONGEST_MATCH).propose([DraftQuery("a", (1,), 2)])["a"].token_ids == (5, 6)


# --- what it is for: a file that is written again with a few edits ----------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_an_edited_file_comes_several_tokens_at_a_time(seed: int) -> None:
    old, new = edited_file(seed)
    assert tokens_per_step([3001, *old, 3002], [], new) > 4
    assert tokens_per_step([3001, 3002], old, new) > 4


def test_something_else_comes_one_token_at_a_time() -> None:
    """Guesses of 8 tokens at 9 per step would be the most there is."""
    _, new = edited_file(0)
    assert tokens_per_step([3001], [], list(range(len(new)))) == 1
