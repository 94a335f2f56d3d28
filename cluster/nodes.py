"""The nodes of the cluster, and what they have to offer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from cluster.placement import Resources
from cluster.ray_names import FREE_BY_NODE
from llama4coder.errors import ConfigError

_POLL_S = 1.0
_TARGET_REPLICA = "#TargetReplica#"  # in the names that Serve gives to replicas and their placement groups


@dataclass(frozen=True, slots=True)
class Node:
    """What one node has in all, and what of it is free, or held by target replicas that new ones will replace."""

    node_id: str
    name: str
    total: Resources
    free: Resources
    labels: Mapping[str, str]

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        return labels.items() <= self.labels.items()


def free_nodes() -> Sequence[Node]:
    """The nodes as they are now, with what target replicas hold not counted as free."""
    return cluster_nodes(ray.nodes(), FREE_BY_NODE.find()(), ())  # type: ignore[no-untyped-call]


def replaceable_nodes() -> Sequence[Node]:
    """The nodes as they are now, with what target replicas hold counted as free, since new ones replace them."""
    groups: Mapping[str, Mapping[str, Any]] = ray.util.placement_group_table()
    return cluster_nodes(ray.nodes(), FREE_BY_NODE.find()(), groups.values())  # type: ignore[no-untyped-call]


def await_nodes(
    lack_of: Callable[[Sequence[Node]], str | None],
    timeout_s: float,
    look: Callable[[], Sequence[Node]] = replaceable_nodes,
) -> Sequence[Node]:
    """Wait until the nodes lack nothing, and return them; raises `ConfigError` with what they lack in the end.

    `look` says how they are now.
    """
    deadline_s = time.monotonic() + timeout_s
    while (lack := lack_of(nodes := look())) is not None:
        if time.monotonic() > deadline_s:
            raise ConfigError(lack)
        time.sleep(_POLL_S)
    return nodes


def cluster_nodes(
    described: Iterable[Mapping[str, Any]],
    available: Mapping[str, Resources],
    placement_groups: Iterable[Mapping[str, Any]],
) -> list[Node]:
    """The living ones of `ray.nodes()`, from what Ray says is available by node, and from its placement groups."""
    free = {node_id: dict(resources) for node_id, resources in available.items()}
    for group in placement_groups:
        if _TARGET_REPLICA in group["name"] and group["state"] == "CREATED":
            for bundle, node_id in group["bundles_to_node_id"].items():
                _give_back(group["bundles"][bundle], free.setdefault(node_id, {}))
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["Resources"],
            free.get(node["NodeID"], {}),
            node.get("Labels") or {},
        )
        for node in described
        if node["Alive"]
    ]


def _give_back(bundle: Resources, free: dict[str, float]) -> None:
    for name, amount in bundle.items():
        free[name] = free.get(name, 0.0) + amount
