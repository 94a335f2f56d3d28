"""When a replica begins to drain, and when it must have done."""

import pytest

from cluster.draining import DrainTimer, Notice, node_notice

STOP = Notice(is_stopping=True)


def test_nothing_happens_until_something_is_heard() -> None:
    timer = DrainTimer(60.0)
    timer.hear(Notice(), 5.0)
    assert (timer.is_draining, timer.is_over(1e9), timer.lasted_s(1e9)) == (False, False, None)


def test_a_replica_that_is_stopped_has_its_time() -> None:
    timer = DrainTimer(60.0)
    timer.hear(STOP, 5.0)
    timer.hear(STOP, 30.0)
    assert timer.is_draining
    assert [timer.is_over(now_s) for now_s in (64.9, 65.0)] == [False, True]
    assert timer.lasted_s(9.0) == 4.0


def test_without_time_it_is_over_at_once() -> None:
    timer = DrainTimer(0.0)
    timer.hear(STOP, 5.0)
    assert timer.is_over(5.0)


def test_a_node_that_is_to_be_emptied_gets_nothing_new_and_is_left_in_time() -> None:
    timer = DrainTimer(60.0)
    timer.hear(Notice(is_node_draining=True, node_ends_in_s=120.0), 0.0)
    assert timer.is_draining
    assert timer.lasted_s(1.0) is None, "Serve still counts on it"
    assert [timer.is_over(now_s) for now_s in (109.0, 110.0)] == [False, True]


def test_the_earlier_end_counts() -> None:
    timer = DrainTimer(60.0)
    timer.hear(Notice(is_node_draining=True, node_ends_in_s=40.0), 0.0)
    timer.hear(STOP, 10.0)
    timer.hear(Notice(is_node_draining=True, node_ends_in_s=300.0), 11.0)
    assert [timer.is_over(now_s) for now_s in (29.0, 30.0)] == [False, True]


def test_a_node_without_an_end_only_drains() -> None:
    timer = DrainTimer(60.0)
    timer.hear(Notice(is_node_draining=True), 0.0)
    assert timer.is_draining
    assert not timer.is_over(1e9)


@pytest.mark.parametrize(
    ("ends_ms", "notice"),
    [
        ({}, Notice()),
        ({"other": 130_000}, Notice()),
        ({"this": 130_000}, Notice(is_node_draining=True, node_ends_in_s=30.0)),
        ({"this": 0}, Notice(is_node_draining=True)),
    ],
)
def test_what_the_head_says_of_this_node(ends_ms: dict[str, int], notice: Notice) -> None:
    assert node_notice(ends_ms, "this", 100.0) == notice
