"""Which replicas wait for room, and for which resource."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cluster.nodes import Node
from cluster.unplaced import unplaced
from llama4coder.obs.declared.scaling import ScalingMetrics
from llama4coder.obs.scaling import Unplaced

NOW_S = 1000.0


def node(**free: float) -> Node:
    return Node("a", "10.0.0.1", {"CPU": 8.0, "GPU": 8.0}, free, {})


def target(*replicas: dict[str, Any], **needed: float) -> dict[str, Any]:
    return {"TargetReplica": {"required_resources": needed, "replicas": list(replicas)}}


def replica(state: str = "STARTING", since_s: float = 20.0, node_id: str | None = None) -> dict[str, Any]:
    return {"state": state, "start_time_s": NOW_S - since_s, "node_id": node_id}


def test_a_placement_group_needs_more_than_its_actor() -> None:
    waiting = target(replica(), CPU=0.2)
    assert unplaced(waiting, {"TargetReplica": {"CPU": 0.7}}, [node(CPU=0.3)], NOW_S)[0].resource == "CPU"


@pytest.mark.parametrize(
    ("free", "resources"),
    [
        ({"CPU": 0.5, "GPU": 1.0}, ["CPU"]),
        ({"CPU": 4.0, "GPU": 0.0}, ["GPU"]),
        ({"CPU": 0.1}, ["CPU", "GPU"]),
        ({"CPU": 4.0, "GPU": 4.0}, ["one_place"]),
    ],
)
def test_what_is_missing(free: dict[str, float], resources: list[str]) -> None:
    found = unplaced(target(replica(), replica(), CPU=0.7, GPU=1.0), {}, [node(**free)], NOW_S)
    assert found == [Unplaced("TargetReplica", resource, 2) for resource in resources]


def test_nodes_count_together() -> None:
    found = unplaced(target(replica(), CPU=0.7), {}, [node(CPU=0.4), node(CPU=0.4)], NOW_S)
    assert found == [Unplaced("TargetReplica", "one_place", 1)]


@pytest.mark.parametrize("one", [replica("RUNNING"), replica("STOPPING"), replica(since_s=5.0), replica(node_id="a")])
def test_who_does_not_wait(one: dict[str, Any]) -> None:
    assert unplaced(target(one, CPU=0.7), {}, [node(CPU=0.0)], NOW_S) == []


def test_who_has_found_room_is_shown_no_more() -> None:
    registry = CollectorRegistry()
    metrics = ScalingMetrics(registry)
    metrics.on_unplaced([Unplaced("Ingress", "CPU", 2)])
    shown = 'llama4coder_unplaced_replicas{deployment="Ingress",resource="CPU"} 2.0'
    assert shown in generate_latest(registry).decode()
    metrics.on_unplaced([])
    assert "unplaced_replicas{" not in generate_latest(registry).decode()
