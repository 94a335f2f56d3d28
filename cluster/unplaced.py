"""Replicas that wait for room, and what they wait for, from what Serve says of its deployments."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.nodes import Node
from cluster.placement import Resources
from llama4coder.obs.scaling import Unplaced

_PATIENCE_S = 10.0  # that Ray takes to place a replica although there is room
_STARTING = "STARTING"  # Serve's name
_SLACK = 1e-6  # of fractions of a CPU that are added up
SOMEWHERE = "one_place"  # there is enough in all, but not where a replica may be: by its labels, or on one node


def unplaced(
    deployments: Mapping[str, Any], groups: Mapping[str, Resources], nodes: Sequence[Node], now_unix_s: float
) -> list[Unplaced]:
    """By deployment and resource, from the `deployments` of an application in Serve's details.

    `groups` is what a whole placement group needs of those deployments that have one, which Serve does not say.
    """
    found = []
    for name, told in deployments.items():
        waiting = [replica for replica in told["replicas"] if _waits(replica, now_unix_s)]
        if waiting:
            lacking = _lacking(groups.get(name, told["required_resources"]), nodes)
            found += [Unplaced(name, resource, len(waiting)) for resource in lacking or (SOMEWHERE,)]
    return found


def _waits(replica: Mapping[str, Any], now_unix_s: float) -> bool:
    is_placed = replica.get("node_id") is not None
    return replica["state"] == _STARTING and not is_placed and now_unix_s - replica["start_time_s"] > _PATIENCE_S


def _lacking(required: Resources, nodes: Sequence[Node]) -> list[str]:
    """Those of which all nodes together have less than one replica needs."""
    free = {name: sum(node.free.get(name, 0.0) for node in nodes) for name in required}
    return [name for name, amount in required.items() if amount > free[name] + _SLACK]
