"""What Ray tells of nodes, read."""

from typing import Any

from cluster.nodes import Node, cluster_nodes

FREE = {"CPU": 0.5, "GPU": 0.0}


def described(node_id: str, *, is_alive: bool = True) -> dict[str, Any]:
    return {
        "NodeID": node_id,
        "NodeManagerAddress": "10.0.0.1",
        "Resources": {"CPU": 4.0, "GPU": 2.0},
        "Labels": {"pool": "target"},
        "Alive": is_alive,
    }


def group(name: str, state: str, *nodes: str) -> dict[str, Any]:
    bundles = {index: {"CPU": 1.0, "GPU": 1.0} for index in range(len(nodes))}
    return {"name": name, "state": state, "bundles": bundles, "bundles_to_node_id": dict(enumerate(nodes))}


def free_of_a(*groups: dict[str, Any]) -> dict[str, float]:
    (node,) = cluster_nodes([described("a")], {"a": FREE}, groups)
    return dict(node.free)


def test_dead_nodes_do_not_count() -> None:
    nodes = cluster_nodes([described("a"), described("b", is_alive=False)], {"a": FREE}, [])
    assert nodes == [Node("a", "10.0.0.1", {"CPU": 4.0, "GPU": 2.0}, FREE, {"pool": "target"})]


def test_a_node_of_which_nothing_is_known_yet_has_nothing() -> None:
    (node,) = cluster_nodes([described("a")], {}, [])
    assert node.free == {}


def test_what_replaced_replicas_hold_counts_as_free() -> None:
    assert free_of_a(group("SERVE_REPLICA::app#TargetReplica#x", "CREATED", "a", "a", "b")) == {"CPU": 2.5, "GPU": 2.0}


def test_what_others_hold_does_not() -> None:
    assert free_of_a(group("SERVE_REPLICA::app#Other#x", "CREATED", "a")) == FREE
    assert free_of_a(group("", "CREATED", "a")) == FREE
    assert free_of_a(group("SERVE_REPLICA::app#TargetReplica#x", "REMOVED", "a")) == FREE
