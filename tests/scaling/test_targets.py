"""What must hold of the number of target replicas whatever the load does."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.targets import Objectives, TargetLoad, TargetMoment, TargetPolicy, TargetState, Trend
from llama4coder.scaling.types import Bounds, Delays

POLICY = TargetPolicy(
    Objectives(kv_share=0.75, prefill_share=0.5, backlog_s=2.0, ttft_s=5.0, num_streams=10.0),
    Bounds(1, 20),
    Delays(10.0, 300.0),
    start_s=50.0,
)

loads = st.builds(
    TargetLoad,
    kv_share=st.floats(0, 5),
    prefill_share=st.floats(0, 1),
    backlog_s=st.floats(0, 100),
    ttft_s=st.floats(0, 60),
    num_streams=st.floats(0, 300),
)


class Fleet:
    """Replicas that share a load evenly, and are there as soon as they are wanted."""

    def __init__(self, policy: TargetPolicy = POLICY, num_replicas: int = 1) -> None:
        self.policy = policy
        self.num_replicas = num_replicas
        self.now_s = 0.0
        self.state = TargetState()

    def bear(self, total: TargetLoad, floor: int = 0) -> int:
        """A second later."""
        self.now_s += 1.0
        num = self.num_replicas
        each = replace(
            total,
            kv_share=total.kv_share / num,
            prefill_share=total.prefill_share / num,
            backlog_s=total.backlog_s / num,
            num_streams=total.num_streams / num,
        )
        decision = self.policy.decide(self.state, TargetMoment(self.now_s, num, [each] * num, floor))
        self.state, self.num_replicas = decision.state, decision.num_replicas
        return self.num_replicas

    def bear_all(self, totals: Iterable[TargetLoad]) -> list[int]:
        return [self.bear(total) for total in totals]


def streams(num: float) -> TargetLoad:
    return TargetLoad(num_streams=num)


def changes(numbers: list[int]) -> list[int]:
    return [new - old for old, new in itertools.pairwise(numbers) if new != old]


@given(st.lists(st.lists(loads, max_size=5), max_size=30), st.integers(1, 5), st.integers(0, 20), st.integers(0, 40))
def test_bounds_hold(moments: list[list[TargetLoad]], least: int, more: int, floor: int) -> None:
    policy = replace(POLICY, bounds=Bounds(least, least + more), delays=Delays(0.0, 0.0))
    state, num = TargetState(), least
    for now_s, replicas in enumerate(moments):
        decision = policy.decide(state, TargetMoment(float(now_s), num, replicas, floor))
        state, num = decision.state, decision.num_replicas
        assert least <= num <= least + more


@given(
    st.lists(loads, min_size=1, max_size=5),
    st.lists(loads, min_size=5, max_size=5),
    st.integers(1, 20),
    st.none() | st.builds(Trend, seen_s=st.just(99.0), backlog_s=st.floats(0, 100), ttft_s=st.floats(0, 60)),
)
def test_more_load_never_wants_fewer(
    before: list[TargetLoad], more: list[TargetLoad], num_wanted: int, trend: Trend | None
) -> None:
    """From the same state; first tokens that are not there are not early ones."""
    policy = replace(POLICY, delays=Delays(0.0, 0.0))
    heavier = [
        TargetLoad(
            one.kv_share + other.kv_share,
            one.prefill_share + other.prefill_share,
            one.backlog_s + other.backlog_s,
            one.ttft_s + other.ttft_s if one.ttft_s else 0.0,
            one.num_streams + other.num_streams,
        )
        for one, other in zip(before, more, strict=False)
    ]
    light, heavy = (
        policy.decide(TargetState(trend=trend), TargetMoment(100.0, num_wanted, replicas)).num_replicas
        for replicas in (before, heavier)
    )
    assert light <= heavy


@settings(max_examples=20)
@given(st.floats(0.5, 190), st.integers(1, 20), st.integers(0, 1000))
def test_noise_of_a_tenth_makes_nobody_go_that_comes_back(num_streams: float, num_replicas: int, seed: int) -> None:
    noise = Random(seed)
    fleet = Fleet(num_replicas=num_replicas)
    numbers = fleet.bear_all(streams(num_streams * noise.uniform(0.9, 1.1)) for _ in range(700))
    assert len({change > 0 for change in changes([num_replicas, *numbers])}) <= 1, "up, or down, and not both"


@settings(max_examples=30)
@given(st.integers(1, 4), st.floats(11, 190))
def test_a_burst_is_answered_within_the_delay(num_replicas: int, num_streams: float) -> None:
    fleet = Fleet(num_replicas=num_replicas)
    fleet.bear_all([streams(num_replicas * 9.0)] * 60)
    numbers = fleet.bear_all([streams(num_streams)] * 12)
    assert numbers[-1] >= min(num_streams / 10, 4 * num_replicas)


def test_a_short_peak_changes_nothing() -> None:
    fleet = Fleet()
    assert set(fleet.bear_all([streams(9)] * 60 + [streams(90)] * 9 + [streams(9)] * 60)) == {1}


def test_replicas_go_late_and_as_few_as_was_ever_enough() -> None:
    fleet = Fleet(num_replicas=8)
    numbers = fleet.bear_all([streams(20)] * 150 + [streams(38)] + [streams(20)] * 148)
    assert set(numbers) == {8}
    assert fleet.bear_all([streams(20)] * 5)[-1] == 5  # 38 streams with some slack


def test_a_load_that_calls_back_who_has_gone_is_given_longer_and_longer() -> None:
    """Such as one that a single replica bears badly, and that two bear so well that one would seem to do."""
    fleet = Fleet()
    numbers = [fleet.bear(streams(12 if fleet.num_replicas == 1 else 7)) for _ in range(20_000)]
    assert 4 <= len(changes(numbers)) <= 24  # instead of 130
    assert sum(number == 1 for number in numbers) < 200


@settings(max_examples=30)
@given(st.floats(0.1, 9.0), st.integers(1, 3))
def test_a_load_that_rises_steadily_finds_a_replica_that_has_started_when_it_needs_one(
    rise_per_minute: float, num_replicas: int
) -> None:
    """One is wanted so long before as a start takes, but for what it takes to see that the load rises."""
    fleet = Fleet(num_replicas=num_replicas)
    at_first = 10.0 * num_replicas - 6 * rise_per_minute
    numbers = fleet.bear_all(streams(at_first + rise_per_minute * second / 60) for second in range(600))
    late_s = numbers.index(num_replicas + 1) - 360
    assert late_s <= -POLICY.start_s + 20 or at_first <= 0


@settings(max_examples=30)
@given(st.floats(0.0, 190), st.floats(0.0, 190))
def test_a_jump_is_no_growth(before: float, after: float) -> None:
    fleet = Fleet(num_replicas=max(1, math.ceil(before / 10)))
    numbers = fleet.bear_all([streams(before)] * 120 + [streams(after)] * 150)
    assert max(numbers) <= max(1, math.ceil(max(before, after) / 10))


def test_a_load_that_levels_off_leaves_no_more_than_one_to_go() -> None:
    fleet = Fleet(num_replicas=1)
    rising = [streams(second / 10) for second in range(900)]
    numbers = fleet.bear_all([*rising, *[streams(90)] * 2000])
    assert max(numbers) <= 11
    assert len([change for change in changes(numbers) if change < 0]) <= 1


def test_reasons_say_what_it_was() -> None:
    for total, reason in (
        (TargetLoad(kv_share=3.0), ScaleReason.KV_BLOCKS),
        (TargetLoad(backlog_s=9.0), ScaleReason.BACKLOG),
        (TargetLoad(num_streams=30.0), ScaleReason.STREAMS),
        (TargetLoad(prefill_share=1.4), ScaleReason.PREFILL),
    ):
        fleet = Fleet()
        fleet.bear_all([total] * 12)
        assert fleet.state.pace.reason is reason
        assert fleet.num_replicas > 1
        fleet.bear_all([TargetLoad()] * 1000)
        assert (fleet.num_replicas, fleet.state.pace.reason) == (1, ScaleReason.QUIET)


def test_first_tokens_that_come_later_and_later_call_for_a_replica_more() -> None:
    fleet = Fleet()
    fleet.bear_all(TargetLoad(ttft_s=1.0 + 0.2 * second, num_streams=5) for second in range(60))
    assert fleet.state.pace.reason is ScaleReason.FIRST_TOKENS
    assert fleet.num_replicas > 1


def test_first_tokens_that_are_late_and_stay_so_keep_everybody_and_call_for_nobody() -> None:
    fleet = Fleet(num_replicas=3)
    fleet.state = TargetState(trend=Trend(0.0, 0.0, 8.0))
    assert set(fleet.bear_all([TargetLoad(ttft_s=8.0, num_streams=5)] * 1000)) == {3}


def test_a_single_long_prompt_keeps_nobody() -> None:
    fleet = Fleet(num_replicas=2)
    numbers = fleet.bear_all(TargetLoad(backlog_s=3.0 if second % 60 == 0 else 0.0) for second in range(400))
    assert numbers[-1] == 1


def test_a_forecast_is_a_floor_from_above_which_the_load_decides() -> None:
    fleet = Fleet()
    for _ in range(12):
        fleet.bear(streams(5), floor=6)
    assert (fleet.num_replicas, fleet.state.pace.reason) == (6, ScaleReason.FORECAST)
    for _ in range(12):
        fleet.bear(streams(95), floor=6)
    assert fleet.num_replicas == 10
    for _ in range(400):
        fleet.bear(streams(5), floor=6)
    assert fleet.num_replicas == 6


def test_replicas_that_say_nothing_change_nothing() -> None:
    decision = POLICY.decide(TargetState(), TargetMoment(0.0, 3, []))
    assert decision.num_replicas == 3


def test_new_bounds_hold_at_once() -> None:
    decision = POLICY.decide(TargetState(), TargetMoment(0.0, 30, [TargetLoad()]))
    assert (decision.num_replicas, decision.state.pace.reason) == (20, ScaleReason.BOUNDS)
