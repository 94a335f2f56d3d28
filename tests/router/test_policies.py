"""The contract of all policies, and what each does of its own."""

from collections import Counter
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.config import RoutingPolicy
from llama4coder.obs.routing import RouteReason
from llama4coder.router.build import build_policy
from llama4coder.router.kv_aware import KVAware
from llama4coder.router.least_load import LeastLoad
from llama4coder.router.policy import considered
from llama4coder.router.round_robin import RoundRobin
from llama4coder.router.turns import Turns
from llama4coder.router.types import Candidate, Query
from tests.support.replicas import candidate

COUNTS = st.integers(0, 10_000)
every_policy = pytest.mark.parametrize("name", get_args(RoutingPolicy))


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True))
    return [
        candidate(
            name,
            num_sequences=draw(COUNTS),
            num_prefill_tokens=draw(COUNTS),
            num_running_tokens=draw(COUNTS),
            num_cached_tokens=draw(st.integers(0, 99)),
            can_take=draw(st.booleans()),
            is_draining=draw(st.booleans()),
        )
        for name in names
    ]


@every_policy
@given(turns=st.lists(candidates(), min_size=1, max_size=8))
def test_chooses_one_of_the_candidates(name: RoutingPolicy, turns: list[list[Candidate]]) -> None:
    policy = build_policy(name)
    for turn in turns:
        assert policy.choose(Query(100), turn).candidate in turn


@every_policy
@given(turns=st.lists(candidates(), min_size=1, max_size=8), chance=st.randoms())
def test_neither_chance_nor_order_decides(name: RoutingPolicy, turns: list[list[Candidate]], chance: Random) -> None:
    first, second = build_policy(name), build_policy(name)
    for turn in turns:
        shuffled = list(turn)
        chance.shuffle(shuffled)
        assert first.choose(Query(100), turn) == second.choose(Query(100), shuffled)


@every_policy
@given(num_replicas=st.integers(1, 8), num_rounds=st.integers(1, 5))
def test_equals_get_equally_many(name: RoutingPolicy, num_replicas: int, num_rounds: int) -> None:
    policy = build_policy(name)
    equals = [candidate(f"r{number}") for number in range(num_replicas)]
    num_requests = num_replicas * num_rounds
    chosen = Counter(policy.choose(Query(100), equals).candidate.replica for _ in range(num_requests))
    assert set(chosen.values()) == {num_rounds}
    assert len(chosen) == num_replicas


class TestRoundRobin:
    def test_load_means_nothing(self) -> None:
        policy, replicas = RoundRobin(), [candidate("a", num_sequences=99), candidate("b")]
        choices = [policy.choose(Query(10), replicas) for _ in range(4)]
        assert [choice.candidate.replica for choice in choices] == ["a", "b", "a", "b"]
        assert {choice.reason for choice in choices} == {RouteReason.TURN}


class TestLeastLoad:
    @pytest.mark.parametrize(
        ("more", "less"),
        [
            ({"num_sequences": 3}, {"num_sequences": 2, "num_prefill_tokens": 9, "num_running_tokens": 9}),
            ({"num_prefill_tokens": 3}, {"num_prefill_tokens": 2, "num_running_tokens": 9}),
            ({"num_running_tokens": 3}, {"num_running_tokens": 2}),
            ({"num_running_tokens": 1, "num_cached_tokens": 9}, {}),
        ],
    )
    def test_less_is_better(self, more: dict[str, int], less: dict[str, int]) -> None:
        choice = LeastLoad().choose(Query(10), [candidate("a", **more), candidate("b", **less)])
        assert (choice.candidate.replica, choice.reason) == ("b", RouteReason.LOAD)


class TestKVAware:
    def choose(self, *replicas: Candidate) -> str:
        return KVAware().choose(Query(1600), replicas).candidate.replica

    def test_a_cached_prefix_outweighs_some_load(self) -> None:
        cached = candidate("b", num_cached_tokens=1584, num_sequences=10, num_running_tokens=9999)
        choice = KVAware().choose(Query(1600), [candidate("a"), cached])
        assert (choice.candidate, choice.reason) == (cached, RouteReason.PREFIX)

    def test_enough_load_outweighs_a_cached_prefix(self) -> None:
        assert self.choose(candidate("a"), candidate("b", num_cached_tokens=1584, num_sequences=200)) == "a"
        assert self.choose(candidate("a"), candidate("b", num_cached_tokens=1584, num_prefill_tokens=2000)) == "a"

    def test_a_little_reuse_does_not_outweigh_load(self) -> None:
        """Such as a system prompt that all have in common."""
        assert self.choose(candidate("a"), candidate("b", num_cached_tokens=112, num_running_tokens=1)) == "a"

    def test_reason_is_load_where_all_have_the_prefix(self) -> None:
        replicas = [candidate("a", num_cached_tokens=1584, num_sequences=1), candidate("b", num_cached_tokens=1584)]
        choice = KVAware().choose(Query(1600), replicas)
        assert (choice.candidate.replica, choice.reason) == ("b", RouteReason.LOAD)

    @given(candidates())
    def test_without_reuse_no_other_is_less_loaded_in_every_way(self, replicas: list[Candidate]) -> None:
        cold = [candidate(each.replica, num_sequences=each.num_sequences) for each in replicas]
        chosen = KVAware().choose(Query(100), cold).candidate
        least = min(each.num_sequences for each in cold)
        assert chosen.num_sequences + 1 <= 1.1 * (least + 1)


class TestConsidered:
    @given(candidates(), st.frozensets(st.sampled_from("abcdefgh")))
    def test_the_worst_reasons_are_left_out_first(self, replicas: list[Candidate], avoid: frozenset[str]) -> None:
        kept = considered(Query(100, avoid=avoid), replicas)
        assert kept
        assert set(kept) <= set(replicas)
        living = [each for each in replicas if not each.is_draining]
        if living:
            assert not any(each.is_draining for each in kept)
        willing = [each for each in living if each.replica not in avoid]
        if willing:
            assert not any(each.replica in avoid for each in kept)
        if any(each.can_take for each in willing):
            assert all(each.can_take for each in kept)

    def test_who_cannot_take_it_now_is_a_candidate_if_nobody_can(self) -> None:
        full = [candidate("a", can_take=False), candidate("b", can_take=False)]
        assert considered(Query(100), full) == full


def test_names_of_policies() -> None:
    assert isinstance(build_policy("kv_aware"), KVAware)
    assert isinstance(build_policy("least_load"), LeastLoad)
    assert isinstance(build_policy("round_robin"), RoundRobin)


def test_turns_forget_replicas_of_long_ago() -> None:
    turns = Turns()
    for number in range(3000):
        turns.next_of([candidate(f"r{number}")])
    assert len(turns._chosen) == 1024
