"""What must hold of the number of draft replicas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama4coder.obs.scaling import ScaleReason
from llama4coder.scaling.drafts import DraftLoad, DraftMoment, DraftPolicy, DraftState
from llama4coder.scaling.types import Bounds, Delays

AT_ONCE = DraftPolicy(Bounds(0, 9), Delays(0.0, 0.0))

loads = st.builds(
    DraftLoad,
    busy_share=st.floats(0, 1),
    num_sessions=st.floats(0, 40),
    late_share=st.floats(0, 1),
    gain=st.floats(0, 3),
)


def wanted(replicas: list[DraftLoad], num_wanted: int | None = None, *, is_called: bool = False) -> int:
    there = len(replicas) if num_wanted is None else num_wanted
    return AT_ONCE.decide(DraftState(), DraftMoment(0.0, there, replicas, is_called)).num_replicas


def busy(*shares: float, num_sessions: float = 8.0) -> list[DraftLoad]:
    return [DraftLoad(share, num_sessions) for share in shares]


@pytest.mark.parametrize(
    ("replicas", "number"),
    [
        (busy(0.0, num_sessions=0.0), 0),
        (busy(0.1, num_sessions=3.0), 1),
        (busy(0.9), 2),
        (busy(1.0, 1.0), 3),
        (busy(0.2, 0.2, 0.2), 2),  # they would be busier than they should if there were one
        (busy(0.1, 0.1, 0.1), 1),
        (busy(1.0, num_sessions=1.0), 1),  # a second one would have nothing to do
        ([DraftLoad(1.0, 0.3), DraftLoad(0.0, 0.0)], 1),
        (busy(0.0, num_sessions=2.0), 1),
        ([DraftLoad(0.3, 8.0, late_share=0.5)], 2),
        ([DraftLoad(0.3, 8.0, late_share=0.1)], 1),
        ([DraftLoad(0.3, 1.0, late_share=0.5)], 1),
        ([DraftLoad(0.9, 8.0, gain=1.5)], 2),
        ([DraftLoad(0.9, 8.0, gain=1.0)], 0),  # it does not pay
        ([DraftLoad(0.9, 8.0, late_share=0.9, gain=1.0)], 2),  # nobody knows: it has too much to do
        ([DraftLoad(0.9, 1.0, late_share=0.9, gain=1.0)], 0),  # a second one would have nothing to do
        ([DraftLoad(0.3, 8.0, late_share=0.9, gain=1.0)], 0),  # nor would it be any sooner
        ([DraftLoad(0.9, 8.0, late_share=0.9, gain=1.0)] * 9, 0),  # nor can there be more
        ([DraftLoad(0.9, 8.0, gain=1.0), DraftLoad(0.9, 8.0, gain=1.5)], 3),
    ],
)
def test_as_many_as_are_busy_and_in_time(replicas: list[DraftLoad], number: int) -> None:
    assert wanted(replicas) == number


def test_an_empty_pool_gets_a_replica_when_a_target_calls() -> None:
    assert wanted([]) == 0
    assert wanted([], is_called=True) == 1


@given(st.lists(loads, max_size=6), st.integers(0, 9), st.booleans(), st.integers(0, 4), st.integers(0, 5))
def test_bounds_hold(replicas: list[DraftLoad], there: int, is_called: bool, least: int, more: int) -> None:
    policy = DraftPolicy(Bounds(least, least + more), Delays(0.0, 0.0))
    decision = policy.decide(DraftState(), DraftMoment(0.0, there, replicas, is_called))
    assert least <= decision.num_replicas <= least + more


@given(st.integers(1, 6), st.floats(0, 0.8), st.floats(0, 0.2), st.integers(1, 9))
def test_who_is_busier_never_gets_fewer(num: int, share: float, more: float, there: int) -> None:
    assert wanted(busy(*[share] * num), there) <= wanted(busy(*[share + more] * num), there)


def test_a_pool_that_does_not_pay_is_given_up_after_the_delay() -> None:
    policy = DraftPolicy(Bounds(0, 4), Delays(10.0, 60.0))
    state, num = DraftState(), 1
    numbers = []
    for second in range(70):
        decision = policy.decide(state, DraftMoment(float(second), num, [DraftLoad(0.9, 8.0, gain=0.9)]))
        state, num = decision.state, decision.num_replicas
        numbers.append(num)
    assert numbers[59] == 1
    assert numbers[60] == 0
    assert state.pace.reason is ScaleReason.NO_GAIN
