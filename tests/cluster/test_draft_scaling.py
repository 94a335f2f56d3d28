"""How many draft replicas there should be, by what they say of themselves."""

from typing import Any

import pytest
from ray.serve.config import AutoscalingContext

from cluster.draft import BusyShare
from cluster.draft_pool import number_of_replicas
from cluster.draft_scaling import BUSY, SESSIONS, wanted_replicas
from llama4coder.config import PoolConfig


def context(replicas: list[tuple[float, float]], num_queued: float = 0.0) -> AutoscalingContext:
    """What Serve knows of replicas by how busy they are and how many sequences they have."""
    names = [f"replica-{index}" for index in range(len(replicas))]
    metrics: dict[str, Any] = {
        BUSY: dict(zip(names, (busy for busy, _ in replicas), strict=True)),
        SESSIONS: dict(zip(names, (sessions for _, sessions in replicas), strict=True)),
    }
    told: dict[str, Any] = dict.fromkeys(
        ("deployment_id", "deployment_name", "app_name", "raw_metrics", "config", "current_time"), None
    )
    return AutoscalingContext(
        **told,
        current_num_replicas=len(replicas),
        target_num_replicas=len(replicas),
        running_replicas=[],
        total_num_requests=0.4,  # replicas being asked where they are
        total_queued_requests=num_queued,
        aggregated_metrics=metrics if replicas else None,
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=9,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
    )


@pytest.mark.parametrize(
    ("replicas", "wanted"),
    [
        ([(0.0, 0.0)], 0),
        ([(0.1, 3.0)], 1),
        ([(0.9, 8.0)], 2),
        ([(1.0, 8.0), (1.0, 8.0)], 3),
        ([(0.2, 8.0), (0.2, 8.0), (0.2, 8.0)], 1),
        ([(1.0, 1.0)], 1),  # a second one would have nothing to do
        ([(1.0, 0.3), (0.0, 0.0)], 1),
        ([(0.0, 2.0)], 1),
    ],
)
def test_as_many_as_are_busy(replicas: list[tuple[float, float]], wanted: int) -> None:
    assert wanted_replicas(context(replicas)) == (wanted, {})


def test_an_empty_pool_gets_a_replica_when_a_target_calls() -> None:
    assert wanted_replicas(context([])) == (0, {})
    assert wanted_replicas(context([], num_queued=0.2)) == (1, {})


def test_busy_is_the_share_of_the_time_since_the_last_question() -> None:
    busy = BusyShare(now_s=100.0)
    assert busy.since_last(5.0, 110.0) == pytest.approx(0.5)
    assert busy.since_last(7.0, 120.0) == pytest.approx(0.2)
    assert busy.since_last(99.0, 121.0) == 1.0


def test_a_fixed_number_needs_no_scaling() -> None:
    assert number_of_replicas(PoolConfig(min_replicas=2, max_replicas=2)) == {"num_replicas": 2}
    scaling = number_of_replicas(PoolConfig(min_replicas=0, max_replicas=4))["autoscaling_config"]
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 4)
    assert scaling.policy.get_policy()(context([(0.9, 8.0)])) == (2, {})
