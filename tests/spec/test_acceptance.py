"""What is expected of guesses: learned per request and source, from a prior, and forgotten in time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.spec.acceptance import PRIOR, Acceptance, Rates
from llama4coder.spec.types import DraftSource

NGRAM = DraftSource.NGRAM
VERDICTS = st.lists(st.integers(1, 8).flatmap(lambda drafted: st.tuples(st.just(drafted), st.integers(0, drafted))))


def begun(*request_ids: str) -> Acceptance:
    acceptance = Acceptance()
    for request_id in request_ids:
        acceptance.begin(request_id)
    return acceptance


@given(VERDICTS)
def test_rates_are_chances_and_gains_never_rise(verdicts: list[tuple[int, int]]) -> None:
    acceptance = begun("a")
    for num_drafted, num_accepted in verdicts:
        acceptance.observe("a", NGRAM, num_drafted, num_accepted)
    gains = acceptance.rates("a", NGRAM).gains(8)
    assert all(0 < gain < 1 for gain in gains)
    assert gains == sorted(gains, reverse=True)


@given(VERDICTS, st.integers(1, 7))
def test_one_more_right_guess_never_lowers_a_rate(verdicts: list[tuple[int, int]], num_accepted: int) -> None:
    rates = []
    for last in (num_accepted, num_accepted + 1):
        acceptance = begun("a")
        for verdict in [*verdicts, (8, last)]:
            acceptance.observe("a", NGRAM, *verdict)
        rates.append(acceptance.rates("a", NGRAM))
    assert rates[0].first <= rates[1].first
    assert rates[0].later <= rates[1].later


def test_gains_are_the_chances_that_a_guess_and_all_before_it_are_right() -> None:
    assert Rates(0.5, 0.8).gains(3) == pytest.approx([0.5, 0.4, 0.32])
    assert Rates(0.5, 0.8).gains(0) == []


def test_a_rate_comes_near_the_truth() -> None:
    rng, acceptance = random.Random(0), begun("a")
    for _ in range(300):
        num_accepted = 0
        if rng.random() < 0.3:
            num_accepted = 1 + next((n for n in range(7) if rng.random() > 0.9), 7)
        acceptance.observe("a", NGRAM, 8, num_accepted)
    of_source = acceptance._sources[NGRAM].rates(PRIOR)
    assert of_source.first == pytest.approx(0.3, abs=0.12)
    assert of_source.later == pytest.approx(0.9, abs=0.08)


def test_nothing_is_concluded_from_guesses_after_a_wrong_one_or_from_none() -> None:
    wrong_at_once, right_once = begun("a"), begun("a")
    wrong_at_once.observe("a", NGRAM, 8, 0)
    assert wrong_at_once.rates("a", NGRAM).later == PRIOR.later
    right_once.observe("a", NGRAM, 1, 1)
    assert right_once.rates("a", NGRAM).later == PRIOR.later


def test_a_new_request_starts_from_what_its_source_did_for_others() -> None:
    acceptance = begun("a", "b")
    for _ in range(50):
        acceptance.observe("a", NGRAM, 4, 0)
    assert acceptance.rates("b", NGRAM).first < 0.3
    assert acceptance.rates("b", DraftSource.LOCAL) == PRIOR


def test_requests_and_sources_are_told_apart() -> None:
    acceptance = begun("a", "b")
    for _ in range(20):
        acceptance.observe("a", NGRAM, 4, 0)
        acceptance.observe("b", NGRAM, 4, 4)
        acceptance.observe("a", DraftSource.POOL, 4, 4)
    assert acceptance.rates("a", NGRAM).first < 0.3 < 0.8 < acceptance.rates("b", NGRAM).first
    assert acceptance.rates("a", DraftSource.POOL).first > 0.8


def test_refusal_is_not_for_ever() -> None:
    acceptance = begun("a")
    for _ in range(200):
        acceptance.observe("a", NGRAM, 4, 0)
    refused = acceptance.rates("a", NGRAM).first
    for _ in range(3000):
        acceptance.pass_over("a")
        acceptance.pass_over_all()
    assert refused < 0.1
    assert acceptance.rates("a", NGRAM).first == pytest.approx(PRIOR.first, rel=0.1)


def test_an_ended_request_is_forgotten() -> None:
    acceptance = begun("a")
    acceptance.end("a")
    acceptance.end("a")
    assert acceptance._rows == {}
