"""Whether there is room for replicas, and what is said when there is not."""

from dataclasses import replace

import pytest

from cluster.nodes import Node
from cluster.placement import Placement
from cluster.room import shortage
from tests.support.nodes import node_of

RANK = {"CPU": 0.5, "GPU": 1}
EIGHT = Placement(({"CPU": 0.2}, *[RANK] * 8), "STRICT_PACK", {}, tuple(range(1, 9)))
TWO_NODES = Placement(({"CPU": 4.2, "GPU": 8}, {"CPU": 4, "GPU": 8}), "STRICT_SPREAD", {}, (0,) * 8 + (1,) * 8)
HEAD = node_of("10.0.0.1", {"CPU": 16.0, "memory": 1e9})


def gpu_node(number: int, num_gpus: int = 8, **labels: str) -> Node:
    return node_of(f"10.0.1.{number}", {"CPU": 64.0, "GPU": float(num_gpus)}, **labels)


def test_room_for_all() -> None:
    assert shortage(EIGHT, 1, [HEAD, gpu_node(1)]) is None
    assert shortage(EIGHT, 2, [gpu_node(1), gpu_node(2)]) is None
    assert shortage(replace(EIGHT, strategy="PACK"), 1, [gpu_node(1, 4), HEAD, gpu_node(2, 4)]) is None
    assert shortage(TWO_NODES, 1, [gpu_node(1), gpu_node(2)]) is None


def test_what_is_missing_is_told_by_node() -> None:
    told = shortage(EIGHT, 1, [HEAD, gpu_node(1, 4)])
    assert told == (
        "no room for target replica 1 of 1: it needs 8 GPU and 4.2 CPU on one node; "
        "10.0.0.1 lacks 8 GPU; 10.0.1.1 lacks 4 GPU"
    )


def test_a_replica_takes_room_from_the_next() -> None:
    told = shortage(EIGHT, 2, [gpu_node(1)])
    assert told is not None
    assert told.startswith("no room for target replica 2 of 2") and "10.0.1.1 lacks 8 GPU" in told


def test_nodes_with_other_labels_do_not_count() -> None:
    wanted = replace(EIGHT, labels={"pool": "target"})
    assert shortage(wanted, 1, [gpu_node(1, pool="target")]) is None
    told = shortage(wanted, 1, [gpu_node(1, pool="draft")])
    assert told is not None
    assert "with the labels pool=target" in told and "10.0.1.1 lacks the labels" in told


def test_a_share_for_each_of_two_nodes() -> None:
    told = shortage(TWO_NODES, 1, [gpu_node(1, 16), HEAD])
    assert told is not None
    assert "8 GPU and 4.2 CPU and 8 GPU and 4 CPU on a node each" in told and "10.0.0.1 lacks 8 GPU" in told


@pytest.mark.parametrize("strategy", ["STRICT_PACK", "PACK", "STRICT_SPREAD"])
def test_an_empty_cluster(strategy: str) -> None:
    told = shortage(replace(EIGHT, strategy=strategy), 1, [])
    assert told is not None and told.endswith("there is no node")


def test_fractions_of_cpus_add_up() -> None:
    exact = Placement(({"CPU": 0.2}, *[{"CPU": 0.1}] * 8), "STRICT_PACK", {}, tuple(range(1, 9)))
    assert shortage(exact, 1, [node_of("a", {"CPU": 1.0})]) is None


def test_what_is_taken_is_no_room_and_is_told() -> None:
    busy = replace(gpu_node(1), free={"CPU": 60.0, "GPU": 5.0})
    told = shortage(EIGHT, 1, [busy])
    assert told is not None
    assert told.endswith("10.0.1.1 lacks 3 GPU, with 3 GPU and 4 CPU of 8 GPU and 64 CPU taken")
    assert shortage(EIGHT, 1, [busy, gpu_node(2)]) is None
